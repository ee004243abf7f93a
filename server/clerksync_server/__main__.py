"""The command `clerksync`."""

from clerksync_server.cli import main

if __name__ == "__main__":
    main()
