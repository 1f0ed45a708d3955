//! Closes packet sockets where nobody waits for it.
//!
//! Each close waits for an RCU grace period of some 16 ms, but many closes can wait for the same one.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::kernel::packet_socket::PacketSocket;

/// Threads that close at the same time.
const AT_ONCE: usize = 16;

/// Where to send sockets to be closed. The thread behind it ends with the last sender.
pub(super) type Closer = Sender<PacketSocket>;

/// Starts the thread.
pub(super) fn start() -> io::Result<Closer> {
    let (closer, sockets) = channel();
    thread::Builder::new().name("wire-closer".to_owned()).spawn(move || run(&sockets))?;
    Ok(closer)
}

fn run(sockets: &Receiver<PacketSocket>) {
    while let Ok(first) = sockets.recv() {
        let mut batch = vec![first];
        batch.extend(sockets.try_iter());
        close(batch);
    }
}

fn close(mut batch: Vec<PacketSocket>) {
    let share = batch.len().div_ceil(AT_ONCE);
    thread::scope(|scope| {
        while batch.len() > share {
            let part = batch.split_off(batch.len() - share);
            // Where no thread can be started, the closure and with it the sockets are dropped here: slower, not wrong.
            let _ = thread::Builder::new().spawn_scoped(scope, move || drop(part));
        }
        drop(batch);
    });
}
