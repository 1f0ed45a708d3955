//! What kernels do differently, and the reference with them.

use super::*;

const FAR: u32 = 0x0100_0000;

/// From an inside host with a connection that stands: data of long ago, what acknowledges something of long ago, and a little more
/// than the window allows.
const STRAYS: [Drawn; 3] =
    [("A", 0xff00_0000, 901, 4), ("A", 101, 0xff00_0000, 0), ("A", 101 + 64_001, 901, 4)];

/// The kernels of today, and those that take each of these packets for invalid.
fn strict(stray: usize) -> KernelRules {
    let mut rules = KernelRules::default();
    let fields = [&mut rules.old_data_passes, &mut rules.old_acknowledgment_passes, &mut rules.excess_passes];
    *fields.into_iter().nth(stray).expect("one of three") = false;
    rules
}

#[test]
fn what_does_not_fit_passes_or_is_invalid_as_the_kernel_has_it() {
    let declared = Behavior::port_preserving();
    for (n, stray) in STRAYS.into_iter().enumerate() {
        let passed = |kernel| {
            let packets = Drawing::stands().by_kernel(kernel);
            packets.out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), stray).says(&declared)
        };
        let dropped =
            |kernel| Drawing::stands().by_kernel(kernel).out((HOST, REMOTE), None, stray).says(&declared);
        let today = KernelRules::default();
        assert_eq!(passed(today), None, "{n}");
        assert_eq!(dropped(today), Some("connection"), "{n}");
        assert_eq!(passed(strict(n)), Some("invalid-packets"), "{n}");
        assert_eq!(dropped(strict(n)), None, "{n}");
        // One that takes another of them for invalid lets this one pass.
        assert_eq!(passed(strict((n + 1) % 3)), None, "{n}");
    }
}

/// The opener's SYN comes again once it was answered, and then a reset of the opener, far ahead, that acknowledges this SYN.
#[test]
fn the_sender_of_a_syn_resets_it_where_the_kernel_believes_so() {
    let declared = Behavior::port_preserving();
    let reset = ("RA", 100 + FAR, 101, 0);
    let again = |kernel| {
        let answered =
            Drawing::opened().by_kernel(kernel).back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), SYN_ACK_BACK);
        answered.out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), SYN)
    };
    let today = KernelRules::default();
    let believing = KernelRules { sender_resets_syn: true, ..today };
    let passed = |kernel| again(kernel).out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), reset).says(&declared);
    let dropped = |kernel| again(kernel).out((HOST, REMOTE), None, reset).says(&declared);
    assert_eq!((passed(today), dropped(today)), (Some("invalid-packets"), None));
    assert_eq!((passed(believing), dropped(believing)), (None, Some("connection")));
}

/// A reset of a connection that a reset has closed, and one with the number 0 of a connection that does not stand yet.
#[test]
fn resets_behind_what_was_acknowledged_pass_where_the_kernel_believes_them() {
    let declared = Behavior::port_preserving();
    let (host, external) = ((HOST, REMOTE), Some((EXTERNAL, REMOTE)));
    let closed = |kernel| {
        let reset = ("RA", 901, 101, 0);
        Drawing::stands().by_kernel(kernel).back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), reset)
    };
    let behind = ("RA", 101_u32.wrapping_sub(FAR), 901, 0);
    let begun = |kernel| {
        Drawing::opened().by_kernel(kernel).back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), SYN_ACK_BACK)
    };
    let zero = ("RA", 0, 901, 0);
    let today = KernelRules::default();
    let strict_when_closed = KernelRules { closing_resets_pass: false, ..today };
    let strict_about_zero = KernelRules { zero_resets_pass: false, ..today };
    assert_eq!(closed(today).out(host, external, behind).says(&declared), None);
    assert_eq!(
        closed(strict_when_closed).out(host, external, behind).says(&declared),
        Some("invalid-packets")
    );
    assert_eq!(closed(strict_when_closed).out(host, None, behind).says(&declared), None);
    assert_eq!(begun(today).out(host, external, zero).says(&declared), None);
    assert_eq!(begun(strict_about_zero).out(host, external, zero).says(&declared), Some("invalid-packets"));
    assert_eq!(begun(strict_about_zero).out(host, None, zero).says(&declared), None);
}
