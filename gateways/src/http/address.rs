//! The address that a request comes from, also where proxies of ours stand between.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};

/// To which each proxy adds, on the right, the address that it was asked from.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// An address, or a network such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    /// How many bits of it count.
    bits: u8,
}

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => {
                (ours.to_bits() ^ other.to_bits()).leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(ours), IpAddr::V6(other)) => {
                (ours.to_bits() ^ other.to_bits()).leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address and no network such as 10.0.0.0/8");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(bits_max);
        (bits <= bits_max).then_some(Network { address, bits }).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        format!("{}/{}", network.address, network.bits)
    }
}

/// The address, or the network that one host of IPv6 has to itself.
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address => address,
    }
}

/// Where a request comes from, as far as `trusted` proxies can be believed, as it is counted: who has IPv6 has a whole
/// network of addresses.
pub(super) fn of(extensions: &Extensions, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(NOWHERE, |ConnectInfo(peer)| peer.ip());
    network_of(behind(peer, headers, trusted))
}

/// The last hop that is none of ours. What stands to its left may be made up by whoever asked.
fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_ours = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut nearest = peer.to_canonical();
    let said = headers.get_all(FORWARDED_FOR).into_iter();
    let said: Vec<&str> = said.filter_map(|value| value.to_str().ok()).collect();
    for hop in said.iter().rev().flat_map(|value| value.rsplit(',')) {
        if !is_ours(nearest) {
            break;
        }
        // A proxy of ours that says nothing readable is all that is known.
        let Some(address) = hop_of(hop.trim()) else { break };
        nearest = address.to_canonical();
    }
    nearest
}

/// Some proxies write the port too.
fn hop_of(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_network_is_an_address_or_the_first_bits_of_one() {
        let network = |text: &str| text.parse::<Network>();
        let ten = network("10.1.0.0/16").expect("a network");
        assert!(ten.contains(ip("10.1.255.1")) && !ten.contains(ip("10.2.0.1")));
        assert!(ten.contains(ip("::ffff:10.1.0.1")) && !ten.contains(ip("::1")));
        let one = network("192.0.2.1").expect("an address");
        assert!(one.contains(ip("192.0.2.1")) && !one.contains(ip("192.0.2.2")));
        let six = network("2001:db8::/32").expect("a network");
        assert!(six.contains(ip("2001:db8:1::1")) && !six.contains(ip("2001:db9::1")));
        assert!(network("0.0.0.0/0").expect("everybody").contains(ip("203.0.113.9")));
        for wrong in ["", "proxy.example", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
        assert_eq!(network(&String::from(ten)), Ok(ten));
    }

    #[test]
    fn a_host_of_ipv6_is_counted_as_its_network() {
        let from = |peer: &str| {
            let mut extensions = Extensions::new();
            extensions.insert(ConnectInfo(SocketAddr::new(ip(peer), 4711)));
            of(&extensions, &HeaderMap::new(), &[])
        };
        assert_eq!(from("2001:db8::1"), from("2001:db8::2:3:4:5"));
        assert_ne!(from("2001:db8::1"), from("2001:db8:0:1::1"));
        assert_ne!(from("192.0.2.1"), from("192.0.2.2"));
        assert_eq!(from("::1"), ip("::1"));
    }

    #[test]
    fn only_proxies_of_ours_are_believed_and_only_the_last_stranger() {
        let trusted: Vec<Network> =
            ["127.0.0.1", "10.0.0.0/8"].map(|text| text.parse().expect("a network")).into();
        let from = |peer: &str, said: &[&str], trusted: &[Network]| {
            let header = |value: &&str| (FORWARDED_FOR, value.parse().expect("a header"));
            behind(ip(peer), &said.iter().map(header).collect(), trusted).to_string()
        };
        let stranger = "203.0.113.9";
        assert_eq!(from("127.0.0.1", &[stranger], &[]), "127.0.0.1", "nobody is trusted");
        assert_eq!(from(stranger, &["192.0.2.1"], &trusted), stranger, "made up");
        assert_eq!(from("127.0.0.1", &[], &trusted), "127.0.0.1");
        for said in [
            &[stranger] as &[&str],
            &["192.0.2.1, 203.0.113.9"],
            &["192.0.2.1, 203.0.113.9, 10.0.0.7"],
            &["192.0.2.1", "203.0.113.9 ,10.0.0.7"],
            &["10.0.0.1, 203.0.113.9:4711"],
            &["junk, ::ffff:203.0.113.9"],
        ] {
            assert_eq!(from("127.0.0.1", said, &trusted), stranger, "{said:?}");
        }
        assert_eq!(from("127.0.0.1", &["192.0.2.1, junk, 10.0.0.7"], &trusted), "10.0.0.7");
        assert_eq!(from("::ffff:10.0.0.2", &["[2001:db8::1]:80"], &trusted), "2001:db8::1");
    }
}
