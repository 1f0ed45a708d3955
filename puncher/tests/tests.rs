//! The `puncher` command and its rendezvous server, from outside.

// What may be typed, and what is said about it.
mod cli;
// Starts programs and waits for what they say.
mod fixture;
// What comes over the network and means no good.
mod hostile;
// What the crate offers, and what it is built from.
mod surface;
// What a lying server, a stranger or a stale stream may try.
mod integrity;
// Across real NATs, in namespaces of its own.
mod lab;
// The library, used as an application does.
mod library;
// A server that aims, and streams that come up again.
mod lies;
// Two peers that meet on this machine.
mod pair;
// What the server endures.
mod rendezvous;
// What the server endures from many at once.
mod server_load;
// What the person who runs a server may want.
mod server_options;
