//! How a live gateway is set up, in a program and in a configuration file.

use std::fmt::{self, Display, Formatter};
use std::net::Ipv4Addr;
use std::time::Duration;

use bus::config::{number, some_number, some_written};
use bus::program::{Date, Size};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::fix::session::SessionConfig;
use crate::net::{Backend, LARGEST_DATAGRAM, Stamps, UdpConfig};

/// How a live gateway is set up.
#[derive(Debug, Clone, Default)]
pub struct LiveConfig {
    /// The lines.
    pub udp: UdpConfig,
    /// Date of new sessions; without it, the day (UTC) on which their first packet is received.
    pub date: Option<Date>,
    /// How long a missing range is waited for, without progress, before it is given up: a gap.
    pub patience: Option<Duration>,
    /// The drop copy, if there is one.
    pub drop_copy: Option<DropCopyConfig>,
}

/// Where the drop copy comes from.
#[derive(Debug, Clone)]
pub struct DropCopyConfig {
    /// `HOST:PORT`.
    pub address: String,
    /// Who talks to whom.
    pub session: SessionConfig,
}

/// The part `[gateway]` of a configuration.
///
/// ```toml
/// [gateway]
/// backend = "auto"          # or "io_uring", which refuses to start without it, or "recvmmsg"
/// stamps = "process"        # or "kernel"
/// source = "10.0.0.9"       # the only address whose packets count
/// buffers = 512             # packets that io_uring may hold, a power of two
/// longest = 1920            # bytes of the longest datagram, at most 9216
/// queue = "8MiB"            # queue of each socket in the kernel
/// patience = "1s"           # how long a missing range is waited for before it is a gap
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct GatewayConfig {
    /// What to receive with.
    pub backend: Option<Backend>,
    /// Who stamps the packets.
    pub stamps: Option<Stamps>,
    /// The only address whose packets count on the lines.
    #[serde(deserialize_with = "some_written")]
    pub source: Option<Ipv4Addr>,
    /// Number of buffers for io_uring.
    #[serde(deserialize_with = "buffers")]
    pub buffers: Option<u16>,
    /// Longest datagram in bytes.
    #[serde(deserialize_with = "some_number::<64, { LARGEST_DATAGRAM as i64 }, _, _>")]
    pub longest: Option<usize>,
    /// Bytes asked for as each socket's queue in the kernel.
    pub queue: Option<Size>,
    /// How long a missing range is waited for, without progress, before it is given up.
    #[serde(deserialize_with = "some_written")]
    pub patience: Option<Duration>,
}

fn buffers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let buffers: u16 = number::<8, 32_768, _, _>(deserializer)?;
    if buffers.is_power_of_two() {
        return Ok(Some(buffers));
    }
    Err(Error::custom(format_args!("{buffers} where a power of two from 8 to 32768 is expected")))
}

impl GatewayConfig {
    /// The lines with what the configuration says.
    ///
    /// # Errors
    /// A value is out of its range.
    pub fn apply(&self, udp: UdpConfig) -> Result<UdpConfig, OutOfRange> {
        let config = UdpConfig {
            backend: self.backend.unwrap_or(udp.backend),
            stamps: self.stamps.unwrap_or(udp.stamps),
            source: self.source.or(udp.source),
            buffers: self.buffers.unwrap_or(udp.buffers),
            longest: self.longest.unwrap_or(udp.longest),
            queue: self.queue.map_or(udp.queue, |Size(bytes)| usize::try_from(bytes).unwrap_or(usize::MAX)),
            ..udp
        };
        if !config.buffers.is_power_of_two() || config.buffers < 8 {
            return Err(OutOfRange { key: "buffers", expected: "a power of two from 8 to 32768 is" });
        }
        if !(64..=LARGEST_DATAGRAM).contains(&config.longest) {
            return Err(OutOfRange { key: "longest", expected: "64 to 9216 bytes are" });
        }
        Ok(config)
    }
}

/// A value of the configuration is out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfRange {
    /// The key in `[gateway]`.
    pub key: &'static str,
    expected: &'static str,
}

impl Display for OutOfRange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "wrong configuration: gateway.{}; {} expected", self.key, self.expected)
    }
}

impl std::error::Error for OutOfRange {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_applied_and_the_rest_stays() {
        let text = "stamps = \"kernel\"\nbackend = \"io_uring\"\nbuffers = 64\nqueue = \"1MiB\"";
        let udp = toml::from_str::<GatewayConfig>(text).unwrap().apply(UdpConfig::default()).unwrap();
        assert_eq!(
            (udp.stamps, udp.backend, udp.buffers, udp.queue),
            (Stamps::Kernel, Backend::IoUring, 64, 1 << 20)
        );
        assert_eq!(udp.longest, UdpConfig::default().longest);
        let patience = toml::from_str::<GatewayConfig>("patience = \"2s\"").unwrap().patience;
        assert_eq!(patience, Some(Duration::from_secs(2)));
    }

    #[test]
    fn values_out_of_their_range_and_unknown_keys_are_refused_by_name() {
        for (text, expected) in [
            ("buffers = 0", "a whole number from 8 to 32768"),
            ("buffers = 100", "100 where a power of two from 8 to 32768 is expected"),
            ("longest = 10000", "a whole number from 64 to 9216"),
            ("longest = \"long\"", "a whole number from 64 to 9216"),
            ("patience = 2", "a duration such as 500ms, 10s, 2m or 1h in quotes"),
            ("source = \"nowhere\"", "an IPv4 address such as 127.0.0.1 is expected"),
            ("bufers = 64", "unknown field `bufers`"),
        ] {
            let error = toml::from_str::<GatewayConfig>(text).unwrap_err();
            assert!(error.message().contains(expected), "{text}: {error}");
        }
        for config in [
            GatewayConfig { buffers: Some(100), ..GatewayConfig::default() },
            GatewayConfig { longest: Some(0), ..GatewayConfig::default() },
        ] {
            let error = config.apply(UdpConfig::default()).unwrap_err();
            assert!(error.to_string().contains(error.key), "{error}");
        }
    }
}
