//! The commands of `market-gateway`.

pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod simulate;
mod summary;

use bus::program::{Arguments, Failure};
use std::net::{SocketAddr, SocketAddrV4};

/// The values of a flag that takes IPv4 addresses with their ports, in their order.
fn addresses(arguments: &Arguments, flag: &str) -> Result<Vec<SocketAddrV4>, Failure> {
    let ipv4 = |address| match address {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(address) => Err(Failure::new(
            "not an IPv4 address",
            format_args!("--{flag} {address}"),
            "give one such as 127.0.0.1:31001",
        )),
    };
    arguments.all(flag)?.into_iter().map(ipv4).collect()
}
