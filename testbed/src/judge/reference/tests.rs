//! Tables of packets for the reference NAT.
