# An image that mounts an account. docs/guides/containers.md has the flags that FUSE needs.
# The project's tests do not build it: the machines that they run on have no container engine.
FROM debian:bookworm-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
        binutils ca-certificates gcc libc6-dev libfuse3-dev pkg-config python3 python3-dev python3-venv
COPY . /src
RUN python3 /src/scripts/deb.py --to /out

FROM debian:bookworm-slim
COPY --from=build /out/*.deb /tmp/
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates /tmp/*.deb \
    && rm -rf /var/lib/apt/lists/* /tmp/*.deb \
    # For `-o allow_other`, which shows the mount to other users, on the host and in other containers.
    && echo user_allow_other >> /etc/fuse.conf \
    && useradd --uid 1000 --create-home remotefs \
    && install -d -o remotefs -g remotefs -m 700 /state \
    && install -d -o remotefs -g remotefs /files
USER remotefs
# The only copies of what was uploaded here: keep this volume.
VOLUME /state
# SIGTERM drains: give the engine a longer time to stop than mount.signal_drain_s (30 s).
STOPSIGNAL SIGTERM
ENTRYPOINT ["remotefs"]
CMD ["mount", "/files", "--foreground", "--state-dir", "/state"]
