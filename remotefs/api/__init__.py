"""The client of the Files API: five operations, in both shapes of the API, under one budget of requests.

In: an operation (list, metadata, delete, upload, download) and its priority. Out: checked records (`models`), an open
body (`download.Download`), or one exception of `remotefs.errors`. This package knows nothing of the tree or of the
state folder. httpx and httpcore are imported here alone.

    callers, each with a Priority or a Ticket
      │
    client      the five operations; GA or beta shape  ──► models, bounds   check every reply
      │
    exchange    wait for the budget, send, take the    ──► budget           who may send, and when
      │         reply or the refusal, maybe retry      ──► refusals, retry  which error; again or not
      │
    upload ▲  ▼ download                               the streams, piece by piece
      │
    transport   httpx ──► pool (httpcore) ──► large_reads ──► the network, perhaps through a proxy

A request runs in the task of its caller; many may wait or be under way at the same time, all in the thread of the event
loop. Threads only read the files that are uploaded. `connectivity` keeps the answer to whether the service can be
reached; the task of `reconnect` asks the service while it cannot. `probe` sends its few requests without retries.

The decisions:

* Requests are the scarce resource. One `Budget` for the whole process hands them out by priority, then by arrival, and
  a `Ticket` can move forward while it waits. The limit belongs to the organization and others use it too, so the budget
  learns it: it starts with the vendor's figure, takes over a limit that a reply names, and slows down after a 429.
* One loop retries (`Exchange.retrying`), and one pure function decides (`retry.decide`). An upload is repeated only
  when its last byte certainly did not go out. The service has no idempotency key, so a second upload would be a second
  file: after the last byte the caller gets AmbiguousOutcome and reads the listing back (W6).
* A header asks for the beta shape; its absence asks for the GA shape. With the setting `auto` a listing is tried in the
  GA shape, then in the beta shape. The shape of the reply decides about the cursors, because they are of that shape.
  The header goes out only if a listing needed it: some gateways refuse it and answer in the beta shape all the same.
* Nothing that the service says is trusted. Ids, names, sizes, times, cursors, waits and limits are checked or cut to
  bounds, and a reply that makes no sense is refused whole (ReplyBroken). One odd entry must not keep a listing from
  being read: decoration gets a safe value, and an entry that cannot be used is left out; its page says so, because it
  must not look like a deleted file (S4). Range is undocumented, so a download reports where its body really starts.
* Bandwidth is shared evenly. Where a limit is set, each stream of a file takes small slices of it in turn
  (`bandwidth`), one that has had little before the others. The wait for a slice is marked on the ticket as the wait for
  the budget is, and no timeout of a connection runs meanwhile.
* Every reply ends. What comes before a body has a bound in bytes and one timeout for all of it (`large_reads`), a JSON
  body the time of a request (`exchange`), a packed body must bring content, and pieces that came together leave other
  tasks their turn (`download`). Only the body of a download may take as long as it makes progress.
* The key stays here. It goes to the service's own origin only, and no exception that leaves this package holds the
  request or repeats a secret.
"""
