"""The control socket: how commands reach the process of a running mount.

    remotefs flush a.txt                                       the mount's process
      find      path ─► mount table ─► xattr of the root ─► socket
      client    {"command": "flush", "params": …}  ─────────►  server   looks the command up, runs its handler
                {"progress": …} {"progress": …}    ◄─────────           (mount/commands)
                {"result": …} or {"error": …}      ◄─────────

A connection carries one command, a line of JSON each way, and progress lines in between (`protocol`, `messages/`).
The server runs a task for each connection in the mount's event loop. It cancels the command when the caller hangs up.

* The socket is in the state folder (0600), and the server checks the caller's user again: only the mounting user and
  root may control a mount.
* A mount that hangs must not hang the command that looks for it, too. `find` lets a child process ask what the kernel
  would pass on to the mount's process, and gives the child up after 5 s (`apart`).
* One process at a time uses a state folder: `lock` holds a flock, which the kernel releases however the process ends.
  `takeover` asks a mount that only drains to let go of it for the next one (A3).
* `mounts` reads the kernel's table of mounts; `address` gets around the 107 bytes that a socket's path may have.
"""
