"""Brings a mount up in a process of its own, and takes it down.

    remotefs mount                                 python -m remotefs.cli.launch.background ARGS FD
      plan       arguments + settings ─► plan
      begin      checks that need no start (`preflight`)
      startup    starts the child  ─────────────►  process    local server? account ─► state folder ─► lock ─► log
                 progress, notices   ◄── pipe ───             ─► mount/session.run_mount
                 ready, or an error  ◄── pipe ───
      exits                                        serves until `umount` (unmount), a signal, or fusermount3

The command waits until the mount answers the kernel, and prints the child's error if it does not get there; the end of
the pipe without a last word means that the child died. With --foreground the same `process` runs in the command itself.

* The arguments of the child hold no key, because every user can see them: the child reads the environment itself (A6).
  Its core files are off for the same reason, and `logs` hides secrets in every line.
* `state_dirs` chooses a folder for each account, not for each key, so that a new key finds the pending changes of the
  old one (S1). It asks the service once for a key that it has not seen.
* Checks run twice where the answer can change in between: in the command, for a quick and clear error, and in the
  process, before it does any harm.
* `local_server` restarts the server of `--local` at the same port when it dies; meanwhile the mount is offline.
"""
