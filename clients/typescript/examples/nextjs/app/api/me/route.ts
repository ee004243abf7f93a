import { withUserProfile } from "../../../lib/clerksync";

export const runtime = "nodejs";

export const GET = withUserProfile((_request, profile) => Response.json({ profileId: profile?.id ?? null }));
