//! What testbed does when there is no memory left.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, which ends the program where it has nothing left to give: with an error like any other, rather
/// than with SIGABRT and half a backtrace. What was finished is on the disk by then, and labs go away with their harness,
/// as they do when it is killed: nothing else is put in order.
#[derive(Debug, Clone, Copy)]
pub struct SystemOrExit;

/// The exit code of errors, as the command uses it.
const EXIT_CODE: libc::c_int = 2;

const MESSAGE: &[u8] = b"testbed: cannot allocate memory: Cannot allocate memory (ENOMEM)\n  \
    help: ulimit -v and vm.overcommit_memory set the limits\n";

// SAFETY: all is done by `System`, and a null pointer never reaches the caller.
unsafe impl GlobalAlloc for SystemOrExit {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        given(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        given(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        given(unsafe { System.realloc(pointer, layout, size) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[inline]
fn given(pointer: *mut u8) -> *mut u8 {
    if pointer.is_null() {
        exhausted();
    }
    pointer
}

/// Says so and ends the process at once: whatever else would run might want memory too.
#[cold]
fn exhausted() -> ! {
    // SAFETY: the buffer outlives the call, and neither call allocates.
    unsafe {
        libc::write(libc::STDERR_FILENO, MESSAGE.as_ptr().cast(), MESSAGE.len());
        libc::_exit(EXIT_CODE)
    }
}
