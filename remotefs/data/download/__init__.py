"""Brings bytes from the service to readers.

In: a read of a file whose bytes are not all on this disk. Out: exactly the bytes, or one error; as a side effect the
content store fills up, so that each byte is fetched once while it stays here.

    read ─► downloader ─► ReadRequest ──joins──► Stream ◄── transfer ◄── source ◄── the service
                │            ▲                     │           │
                │            │ filled chunk        │ chunk     └─► concurrency (learns from the rate)
            readahead        │ by chunk            ▼
            division         └────────────────── shelf ─► content store; memory when the disk is full

    the positions of one stream, in chunks:

    first ───── stored ─────► next ─── awaited ──► asked ─── readahead ──► readahead_until ─── later, maybe ──► stop

A *read request* is a range of bytes that one reader waits for, and the readahead after it. It collects its chunks
itself, whichever stream brings them. A `Fetch` holds the requests and the streams of one file. A *stream* is one reply
that is read in order. It stores its chunks and hands them to every request that misses them, so many readers of a file
share one stream.

Each stream runs in a task of its own (`Downloader.run`), at most 32 at a time. A reader waits in the task of its kernel
request. If the reader is cancelled, the stream goes on.

The decisions:

* A read joins a stream that will bring its bytes soon. A read far from every stream gets a request of its own (R1).
  That needs Range, which is undocumented, so replies show whether it works. Where it does not, there is one stream a
  file, from byte 0 to the end.
* A stream pauses at `readahead_until`: nothing is read from its connection, so the service stops sending. The next read
  moves `readahead_until` on and costs no request. A pause ends after 30 s, or 1 s after the last handle was closed, or
  when another stream needs the slot.
* How far ahead: a window for each sequential run of a handle starts at 512 KiB and grows by a factor of 2 (4 with
  parallel streams) up to the setting `readahead_bytes`, or to two parts for each parallel stream; it is never more
  than a quarter of the content cache. A jump halves the other windows. A look at the beginning (a first READ below
  128 KiB) gets 256 KiB and no more (R8). A file no larger than `readahead_bytes` is read to its end.
* Where the length has to be verified before the first READ, the last file of the folder tells whether a look is
  expected (`folder_readahead`).
* Files from 16 MiB on are fetched in parallel parts where that pays. `concurrency` tries 8 streams at once, and keeps
  them if they bring 1.5 times the rate; the result is remembered. Part sizes vary between half and the full size, so
  that parallel parts do not all finish at once. Several files share the streams.
* A reader waits for a silent service for a limited time (`patience`, R7). The stream is not cancelled: its bytes serve
  the next try.
* Memory is bounded: each stream holds a batch of 4 chunks and one piece of its reply.
"""
