//! The wire: a user-space delay line inside a link, its tap, and the clock of the evidence.
//!
//! A wired link is two veth pairs. Their inner ends, `x` towards the lower node and `y` towards the core, lie without
//! addresses in a namespace that holds nothing else, the [`Junction`], and one thread carries every frame from one to the
//! other: late, lost, doubled or overtaken as the link's conditions say, or held until somebody releases it.
//!
//! **One thread carries for all wires of a process** ([`WireEngine`]), as urgent as the kernel allows. It owns all
//! state, so nothing is locked and nobody it could wait for is less urgent than itself; other threads send it a
//! closure and wait for the answer, some ten microseconds. [`Wire`], [`Tap`], [`Held`] and [`FrameSighting`] are the
//! handles for that.
//!
//! **Time.** A frame's delay counts from when the kernel received it, not from when the thread got round to it, so being
//! late on one frame delays no other. If no frame is due soon after it came, the thread waits a moment and reads several
//! frames at a time. How late the latest frame was is recorded with the frames; judging that is left to `run`. A large
//! segment (GSO) is one frame to loss, duplication and holding, and many frames to the rate.
//!
//! **Sockets.** One packet socket serves all wires of a junction, because closing one takes an RCU grace period of 16 ms,
//! one after the other when the process is killed. Opening it needs the right namespace and is left to the caller;
//! making the veth pairs to `lab::build`.

mod channel;
mod closer;
mod core;
mod engine;
mod handle;
mod held;
mod hold;
mod line;
mod listener;
mod port;
mod queue;
mod station;
mod syn_order;
mod tap;
mod traffic;

pub use self::engine::{TapSpec, WireEngine};
pub use self::handle::WireError;
pub use self::held::{FrameSighting, Held};
pub use self::hold::ReleaseOrder;
pub use self::line::Ends;
pub use self::station::{Junction, Stations, Tap, Wire, WireSpec};
pub use self::syn_order::{PunchingSide, SynOrder, SynsHeld};
pub use self::tap::{TapLimits, Tapped};
pub use self::traffic::Traffic;
