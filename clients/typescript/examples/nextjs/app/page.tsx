import { currentUserProfile } from "../lib/clerksync";

export const runtime = "nodejs";
export const dynamic = "force-dynamic";

export default async function Page() {
  const profile = await currentUserProfile();
  return <p>{profile ? `profile ${profile.id}` : "no profile"}</p>;
}
