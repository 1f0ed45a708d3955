//! A wire carries frames as its conditions say, and tells what it saw.

mod cable;
mod captured;
mod carries;
mod evidence;
mod faults;
mod holding;
