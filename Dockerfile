# testbed and puncher for privileged CI containers:
#   docker build -t testbed . && docker run --rm --privileged testbed run classic

FROM rust:1-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends nftables \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /source/target/release/testbed /source/target/release/puncher /usr/local/bin/
WORKDIR /results
ENTRYPOINT ["testbed"]
CMD ["run", "matrix"]
