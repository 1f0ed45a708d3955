//! Servers by their names.

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use tokio::time::timeout;

use super::client::ClientError;
use crate::text::printable;

/// Longer than a resolver waits for the first server that it asks: resolv.conf(5), 5 s.
const LOOKUP: Duration = Duration::from_secs(10);

/// The endpoints of a rendezvous server whose endpoints are given as `HOST:PORT`, by address or by name, in their order: for
/// [`Config::rendezvous`](crate::Config::rendezvous). A name may stand for several addresses. Those of IPv6 are left out.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let servers = puncher::rendezvous::resolve(&["localhost:7000".into(), "203.0.113.2:7001".into()]).await?;
/// assert_eq!(servers, ["127.0.0.1:7000".parse()?, "203.0.113.2:7001".parse()?]);
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When one has no IPv4 address, or none is found within 10 s.
pub async fn resolve(servers: &[String]) -> Result<Vec<SocketAddrV4>, ClientError> {
    let mut found = Vec::new();
    for server in servers {
        let unknown = |why: String| ClientError::Unknown { server: printable(server), why };
        let looked_up = timeout(LOOKUP, tokio::net::lookup_host(server.as_str())).await;
        let addresses = looked_up.map_err(|_| unknown(format!("no answer within {LOOKUP:?}")))?;
        let addresses = addresses.map_err(|error| unknown(error.to_string()))?;
        let mut endpoints = addresses.filter_map(|address| match address {
            SocketAddr::V4(endpoint) => Some(endpoint),
            SocketAddr::V6(_) => None,
        });
        let first = endpoints.next().ok_or_else(|| unknown("it has no IPv4 address".into()))?;
        for endpoint in std::iter::once(first).chain(endpoints) {
            // A name may stand for what was given already.
            if !found.contains(&endpoint) {
                found.push(endpoint);
            }
        }
    }
    Ok(found)
}
