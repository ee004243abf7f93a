// Lets a process end while a stream is open.
import type { Socket } from "node:net";
import type { ChannelCredentials } from "@grpc/grpc-js";

/**
 * The same credentials, but the sockets that are opened with them do not keep the process alive.
 *
 * grpc-js references the socket of every connection with a call on it and has no option against that, so the socket is
 * taken hold of where the credentials get to see it. `_createSecureConnector` is what grpc-js asks credentials for; if
 * a later version no longer does, the watch works as before and only keeps the process alive until `close()`.
 */
export function unreferenced(credentials: ChannelCredentials): ChannelCredentials {
  const wrapped: ChannelCredentials = Object.create(credentials);
  wrapped._equals = (other) => other === wrapped;
  wrapped._createSecureConnector = (...details) => {
    const connector = credentials._createSecureConnector(...details);
    return {
      connect: async (socket) => {
        const connected = await connector.connect(socket);
        unreference(connected.socket);
        return connected;
      },
      waitForReady: () => connector.waitForReady(),
      getCallCredentials: () => connector.getCallCredentials(),
      destroy: () => connector.destroy(),
    };
  };
  return wrapped;
}

function unreference(socket: Socket): void {
  socket.unref();
  socket.ref = () => socket;
}
