/** Loaded by Node as they are: bundled, there would be a copy of each for every bundle. */
export default { serverExternalPackages: ["@clerksync/client", "@grpc/grpc-js"] };
