# testbed and puncher for CI containers:
#   docker build -t testbed . && docker run --rm --privileged testbed run classic
# docs/ci.md names the capabilities that do instead of --privileged.

# Pin these by digest (NAME@sha256:…) where the same image must come out years later.
ARG RUST=rust:1.95-slim-bookworm
ARG DEBIAN=debian:bookworm-slim
# Where the programs come from: the stage below, or an image that has them in /source/target/release already.
ARG PROGRAMS=build

FROM ${RUST} AS build
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
COPY testbed testbed
COPY puncher puncher
COPY topologies topologies
COPY docs docs
COPY scripts/common.sh scripts/
# Paths of the machine stay out of the programs, so that they are the same wherever they are built.
RUN bash -c '. scripts/common.sh && cargo_arguments=("$@") && build_programs' build --locked \
      --config 'build.rustflags=["--remap-path-prefix=/source=.", "--remap-path-prefix=/usr/local/cargo=cargo"]'

FROM ${PROGRAMS} AS programs

FROM ${DEBIAN}
# libnftables loads the rules; nft shows and checks them. What the package manager writes for itself is left out: it
# holds times and would make every build another image.
RUN apt-get update \
 && apt-get install -y --no-install-recommends nftables \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /var/lib/dpkg/*-old
COPY --from=programs /source/target/release/testbed /source/target/release/puncher /usr/local/bin/
# For --user testbed with --rootless, where the host lets it have user namespaces. Root is the default: labs are made of
# network namespaces, and a container's capabilities are root's alone.
RUN useradd --create-home --home-dir /results --uid 1000 testbed && chmod 777 /results && rm -f /etc/*- \
 && rm -rf /var/log/* && sed -i -E 's/^(testbed:[^:]*:)[0-9]*:/\119700:/' /etc/shadow
WORKDIR /results
# What registries show; scripts/release's workflow fills in the last three.
ARG VERSION=unreleased
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="testbed" \
      org.opencontainers.image.description="Real NATs out of the Linux kernel, and the truth about TCP hole punching across them" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
ENTRYPOINT ["testbed"]
CMD ["run", "matrix"]
