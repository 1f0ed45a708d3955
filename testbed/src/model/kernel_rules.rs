//! What kernels of different releases do differently with a connection's packets, as measured on the kernel at hand.

/// Which rules of connection tracking a kernel has, where kernels differ (`net/netfilter/nf_conntrack_proto_tcp.c`). Measured by
/// packets at the beginning of a run, never concluded from a version number: distributions carry changes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelRules {
    /// Data from long ago passes without counting, and is not invalid ("ignore overly delayed tcp packets", Linux 6.1).
    pub old_data_passes: bool,
    /// So does what acknowledges something of long ago (the same change).
    pub old_acknowledgment_passes: bool,
    /// So does a little more than the window allows ("work around exceeded receive window", Linux 6.0).
    pub excess_passes: bool,
    /// A SYN that was let through may be reset by its own sender, not only by the other end. Linux 6.18.15 has it so; of the
    /// kernels that were measured 5.10.0-46, 6.1.0-57, 6.12.118, 6.18.44 and 7.3.4 have not.
    pub sender_resets_syn: bool,
    /// In a closing state every reset is believed, whatever its number ("improve RST handling when tuple is re-used", Linux 5.14).
    pub closing_resets_pass: bool,
    /// A reset with the number 0 is believed where the connection does not stand yet, if its number is not beyond the window (the
    /// same change).
    pub zero_resets_pass: bool,
}

/// What the newest kernels do.
impl Default for KernelRules {
    fn default() -> Self {
        Self {
            old_data_passes: true,
            old_acknowledgment_passes: true,
            excess_passes: true,
            sender_resets_syn: false,
            closing_resets_pass: true,
            zero_resets_pass: true,
        }
    }
}
