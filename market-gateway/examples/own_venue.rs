//! A gateway for a venue of your own: its messages are a price and a size, eight bytes each, over MoldUDP64. It is fed by
//! hand into the topic `ticks`; live, `LiveGateway::open(&bus, &config, Venue)` receives into `market-data`.
use bus::event::market::{Gap, Session};
use bus::event::{Event, Price, Quantity, Time};
use market_gateway::feed::{Feed, FeedConfig};
use market_gateway::mold::{PacketWriter, session_id};
use market_gateway::{Normalise, Output, Raw, Recall, arbiter::Source, resume::History};

#[derive(Event, Clone, Copy, Debug)]
#[event(kind = 2)]
#[repr(C)]
struct Tick {
    receive_time: Time,
    venue_sequence: u64,
    price: Price,
    size: Quantity,
}

#[derive(Event)]
enum VenueEvent {
    Session(Session),
    Gap(Gap),
    Tick(Tick),
}

struct Venue;
impl Normalise for Venue {
    type Event = VenueEvent;
    fn message<O: Output<VenueEvent>>(&mut self, raw: Raw<'_>, out: &mut O) -> Result<(), O::Error> {
        let Raw { sequence: venue_sequence, receive_time, bytes } = raw;
        let ([price, size], []) = bytes.as_chunks() else { return Ok(()) };
        let (price, size) = (Price(i64::from_be_bytes(*price)), Quantity(i64::from_be_bytes(*size)));
        out.publish(&Tick { receive_time, venue_sequence, price, size })
    }
    fn recall(&mut self, event: VenueEventRef<'_>) -> Recall {
        match event {
            VenueEventRef::Session(session) => Recall::Session(*session),
            VenueEventRef::Gap(gap) => Recall::Gap(*gap),
            VenueEventRef::Tick(tick) => Recall::Message(tick.venue_sequence),
        }
    }
}

fn main() -> std::process::ExitCode {
    bus::program::attempt("own_venue", || {
        let bus = bus::Bus::open(std::env::temp_dir().join("own-venue"))?;
        let ticks = bus.publisher::<VenueEvent>("ticks")?;
        let mut feed =
            Feed::new(Venue, ticks, History::read(&bus, "ticks", &mut Venue)?, FeedConfig::new(false));
        let mut packet = PacketWriter::new(1400);
        for (line, number) in [(0, 1), (1, 1), (1, 2), (0, 2), (0, 4), (1, 3)] {
            packet.begin(&session_id(*b"20260105  "), number);
            assert!(packet.push(&[100 * number, 5].map(u64::to_be_bytes).concat()));
            feed.packet(Source::Line(line), Time(1_767_600_000_000_000_000), packet.datagram())?;
        }
        println!("{} messages in {}", feed.summary().published, bus.directory().display());
        Ok(feed.into_parts().1.close()?)
    })
}
