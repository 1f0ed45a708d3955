//! Work on benches: in a thread of its own, and with an eye on the program that makes the NAT.
//!
//! A program that stays is started again wherever its NAT is to forget. One that ends by itself soon after it was ready might
//! thus never be missed. So it is looked for at the end of all work on a bench, and meanwhile another one is left alone on a
//! bench of its own.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::bench::Bench;
use super::prober::Prober;
use crate::kernel::error::{Error, Result};
use crate::lab::nat_rules::NatConfig;

/// How long a NAT's program must stay where little is measured: longer than that takes.
pub(in crate::probe) const SHORT_WATCH: Duration = Duration::from_secs(1);

/// How long it must stay where the NAT's own time is waited for: longer than any single measurement, and than most trials.
pub(in crate::probe) const LONG_WATCH: Duration = Duration::from_secs(8);

/// Builds a NAT on a bench of its own, and works with it.
///
/// # Errors
/// Those of the bench and of the work, or that the NAT's program did not stay.
pub(in crate::probe) async fn on_bench<T: Send + 'static>(
    config: &NatConfig,
    work: impl FnOnce(&mut Prober) -> Result<T> + Send + 'static,
) -> Result<T> {
    let config = config.clone();
    in_thread(move || {
        let mut prober = Prober::new(Bench::build(&config)?);
        let done = work(&mut prober)?;
        prober.bench.leave_alone(Duration::ZERO)?;
        Ok(done)
    })
    .await
}

/// Does some work while the NAT's program, if it has one, is left alone on another bench for so long.
///
/// # Errors
/// Those of the work, or that the program ended by itself.
pub(in crate::probe) async fn while_it_stays<T>(
    config: &NatConfig,
    time: Duration,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let stays = async {
        match &config.command {
            Some(_) => on_bench(config, move |prober| prober.bench.leave_alone(time)).await,
            None => Ok(()),
        }
    };
    futures::future::try_join(work, stays).await.map(|(done, ())| done)
}

/// Runs `work` in a thread that ends with it, because a bench ties its thread to one processor.
async fn in_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let runtime = Handle::current();
    let (done, result) = oneshot::channel();
    let thread = std::thread::Builder::new().name("testbed-proof".to_owned()).spawn(move || {
        let _context = runtime.enter();
        // Nobody listens any more when the run was stopped.
        let _ = done.send(work());
    });
    thread.map_err(|e| Error::io("start a thread", "clone", &e))?;
    result.await.unwrap_or_else(|_| Err(Error::other("prove a NAT", "the probe panicked")))
}
