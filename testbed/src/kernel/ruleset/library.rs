//! libnftables, opened at run time: a handful of functions, one context a call, made inside the namespace it is for.
//!
//! Only for files does the library say which line it refuses, so the text goes to it as a file in memory.

use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::panic::resume_unwind;
use std::ptr::NonNull;
use std::thread;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::{Devices, Mode};
use crate::kernel::error::{Error, Refusal, Result};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// libnftables(3): no counters in listings.
const OUTPUT_STATELESS: c_uint = 1 << 2;
/// libnftables(3): no contents of sets in listings.
const OUTPUT_TERSE: c_uint = 1 << 11;

/// All contexts share what the library knows of devices (`iface_list` of its src/iface.c): it is filled when one is looked
/// up by index, in the namespace of who does so, and whoever frees a context frees that too. So who looks devices up is
/// alone.
static TURNS: RwLock<()> = RwLock::new(());

/// A turn with the library, until it is dropped.
enum LibraryLock {
    Beside(#[allow(dead_code, reason = "held, not used")] RwLockReadGuard<'static, ()>),
    Alone(#[allow(dead_code, reason = "held, not used")] RwLockWriteGuard<'static, ()>),
}

/// `struct nft_ctx`, which only the library looks into.
#[repr(C)]
struct Context {
    _private: [u8; 0],
}

/// The functions of libnftables that we use.
pub struct Library {
    context_new: unsafe extern "C" fn(u32) -> *mut Context,
    context_free: unsafe extern "C" fn(*mut Context),
    buffer_output: unsafe extern "C" fn(*mut Context) -> c_int,
    buffer_error: unsafe extern "C" fn(*mut Context) -> c_int,
    output: unsafe extern "C" fn(*mut Context) -> *const c_char,
    error: unsafe extern "C" fn(*mut Context) -> *const c_char,
    set_output_flags: unsafe extern "C" fn(*mut Context, c_uint),
    set_dry_run: unsafe extern "C" fn(*mut Context, bool),
    run_file: unsafe extern "C" fn(*mut Context, *const c_char) -> c_int,
    /// Keeps the functions above where they are.
    _library: libloading::Library,
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("libnftables.so.1")
    }
}

impl Library {
    /// Opens the library, if this machine has it and it has all the functions.
    pub(super) fn open() -> Option<Self> {
        // SAFETY: libnftables has no initialisers that could upset this process, and the types of its functions are
        // those of nftables/libnftables.h, which have not changed since the library's first version.
        unsafe {
            let library = libloading::Library::new("libnftables.so.1").ok()?;
            Some(Self {
                context_new: *library.get(c"nft_ctx_new").ok()?,
                context_free: *library.get(c"nft_ctx_free").ok()?,
                buffer_output: *library.get(c"nft_ctx_buffer_output").ok()?,
                buffer_error: *library.get(c"nft_ctx_buffer_error").ok()?,
                output: *library.get(c"nft_ctx_get_output_buffer").ok()?,
                error: *library.get(c"nft_ctx_get_error_buffer").ok()?,
                set_output_flags: *library.get(c"nft_ctx_output_set_flags").ok()?,
                set_dry_run: *library.get(c"nft_ctx_set_dry_run").ok()?,
                run_file: *library.get(c"nft_run_cmd_from_filename").ok()?,
                _library: library,
            })
        }
    }

    /// Runs `text` in the namespace of this thread and returns what nft prints.
    ///
    /// The library waits with select(2), and a descriptor beyond `FD_SETSIZE` ends the process there and then. So it
    /// works in a thread with descriptors of its own, where its socket is one of the first.
    pub(super) fn run(&self, text: &str, mode: Mode, devices: Devices) -> Result<String> {
        let _turn = match devices {
            Devices::ByName => LibraryLock::Beside(TURNS.read()),
            Devices::ByIndex => LibraryLock::Alone(TURNS.write()),
        };
        thread::scope(|scope| {
            let work = || leave_descriptors_behind().and_then(|()| self.run_here(text, mode));
            let thread = thread::Builder::new().name("testbed-nft".into()).spawn_scoped(scope, work);
            let thread = thread.map_err(|e| Error::io("load a ruleset", "clone", &e))?;
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    fn run_here(&self, text: &str, mode: Mode) -> Result<String> {
        let file = in_memory(text)?;
        let path = CString::new(format!("/proc/thread-self/fd/{}", file.as_raw_fd())).unwrap_or_default();
        let _no_signals = SignalsBlocked::new();
        let context = LiveContext::new(self)?;
        let raw = context.raw.as_ptr();
        // SAFETY: `raw` is a context of this library, alive until `context` is dropped, and used by this thread alone, as
        // are the library's devices, see `TURNS`;
        // `path` ends in a zero byte. The buffers belong to the context and are copied before it goes.
        unsafe {
            (self.buffer_output)(raw);
            (self.buffer_error)(raw);
            (self.set_output_flags)(raw, OUTPUT_STATELESS | OUTPUT_TERSE);
            (self.set_dry_run)(raw, mode == Mode::Check);
            if (self.run_file)(raw, path.as_ptr()) == 0 {
                Ok(copy((self.output)(raw)))
            } else {
                Err(Refusal::parse(&copy((self.error)(raw)), text).into())
            }
        }
    }
}

/// Gives the calling thread a table of descriptors of its own that holds nothing but the standard streams.
fn leave_descriptors_behind() -> Result<()> {
    // SAFETY: the call takes no pointers. This thread was started for the purpose and holds no descriptor beyond the
    // standard streams; those of all other threads are in the table that it leaves.
    let left = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_UNSHARE) };
    Errno::result(left).map(drop).map_err(|e| Error::call("load a ruleset", "close_range", e))
}

/// A file that holds `text` and has no name.
fn in_memory(text: &str) -> Result<File> {
    const TRIED: &str = "hand a ruleset to libnftables";
    let fd =
        memfd_create(c"ruleset", MFdFlags::MFD_CLOEXEC).map_err(|e| Error::call(TRIED, "memfd_create", e))?;
    let mut file = File::from(fd);
    file.write_all(text.as_bytes()).map_err(|e| Error::io(TRIED, "write", &e))?;
    Ok(file)
}

/// Signals that come to other threads while this lives: the library waits with select(2) and takes one for a failure.
struct SignalsBlocked {
    before: Option<SigSet>,
}

impl SignalsBlocked {
    fn new() -> Self {
        Self { before: SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).ok() }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Cannot fail: it was in force a moment ago.
            let _ = before.thread_set_mask();
        }
    }
}

/// A context that is freed when dropped.
struct LiveContext<'a> {
    library: &'a Library,
    raw: NonNull<Context>,
}

impl<'a> LiveContext<'a> {
    fn new(library: &'a Library) -> Result<Self> {
        const TRIED: &str = "talk to nf_tables";
        // The library *exits the process* when it gets no netlink socket, so one is tried beforehand.
        socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            Some(SockProtocol::NetlinkNetFilter),
        )
        .map_err(|e| Error::call(TRIED, "socket(AF_NETLINK, NETLINK_NETFILTER)", e))?;
        // SAFETY: 0 is NFT_CTX_DEFAULT; the result is checked.
        let raw = unsafe { (library.context_new)(0) };
        let raw = NonNull::new(raw).ok_or_else(|| Error::other(TRIED, "nft_ctx_new gave no context"))?;
        Ok(Self { library, raw })
    }
}

impl Drop for LiveContext<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `nft_ctx_new` of the same library, and freed once.
        unsafe { (self.library.context_free)(self.raw.as_ptr()) }
    }
}

/// Copies a C string that may be null.
///
/// # Safety
/// `text` is null or ends in a zero byte.
unsafe fn copy(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and ended by a zero byte as the caller promises.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
