//! The commands of `market-gateway`.

mod message_log;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod simulate;
mod summary;

use bus::program::{Arguments, Failure};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// Whether a name can stand in a padded or delimited field and come back as it was given.
fn is_name(text: &str, most: usize) -> bool {
    let is_printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    (1..=most).contains(&text.len()) && is_printable && !text.ends_with(' ')
}

/// The values of a flag that takes IPv4 addresses with their ports, in their order, each once.
fn addresses(arguments: &Arguments, flag: &str) -> Result<Vec<SocketAddrV4>, Failure> {
    let mut addresses = Vec::new();
    for address in arguments.all(flag)? {
        let refused =
            |what| Failure::new(what, format_args!("--{flag} {address}"), "give one such as 127.0.0.1:31001");
        match address {
            SocketAddr::V4(address) if address.port() == 0 => return Err(refused("an address without port")),
            SocketAddr::V4(address) if addresses.contains(&address) => {
                return Err(refused("an address given twice"));
            }
            SocketAddr::V4(address) => addresses.push(address),
            SocketAddr::V6(_) => return Err(refused("not an IPv4 address")),
        }
    }
    Ok(addresses)
}

/// The interface for the multicast groups among `lines`; refused where there is none, since it would count for nothing.
fn interface(arguments: &Arguments, lines: &[SocketAddrV4]) -> Result<Option<Ipv4Addr>, Failure> {
    let interface: Option<Ipv4Addr> = arguments.find("interface")?;
    match interface {
        Some(address) if !lines.iter().any(|line| line.ip().is_multicast()) => Err(Failure::new(
            "an interface without a multicast group",
            format_args!("--interface {address}"),
            "leave it out, or give a multicast group by --mold",
        )),
        interface => Ok(interface),
    }
}
