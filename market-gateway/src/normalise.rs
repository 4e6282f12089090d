//! NASDAQ ITCH 5.0 as events of the topic `market-data`: one event a message.
//!
//! | Message | Event | | Message | Event |
//! | --- | --- | --- | --- | --- |
//! | `A` `F` | `AddOrder` | | `P` | `Trade` |
//! | `E` | `ExecuteOrder` | | `Q` | `CrossTrade` |
//! | `C` | `ExecuteOrderAtPrice` | | `B` | `BrokenTrade` |
//! | `X` | `ReduceOrder` | | `S` | `SystemEvent` |
//! | `D` | `DeleteOrder` | | `R` | `Instrument` |
//! | `U` | `ReplaceOrder` | | `H` `h` | `TradingStatus` |
//!
//! All other messages, and bytes that are no message of ITCH 5.0, are a `VenueMessage` as they came.
//!
//! The venue names instruments by a number, the locate, that `R` binds to a symbol for the session. Where a message
//! tells locate and symbol before any `R` did, an `Instrument` without static data is published ahead of it, so that the
//! journal alone explains every symbol. A locate that nothing explains is the symbol `#` and its five digits.

use bus::event::market::{
    AddOrder, BrokenTrade, CrossTrade, DeleteOrder, ExecuteOrder, ExecuteOrderAtPrice, Instrument,
    MarketEvent, MarketEventRef, ReduceOrder, ReplaceOrder, Session, SystemEvent, Trade, TradingStatus,
    VenueMessage,
};
use bus::event::{Bytes, Code, Price, Quantity, Side, Symbol, Text, Time};
use zerocopy::FromBytes;
use zerocopy::big_endian::U32;

use crate::itch::{self, Head, ItchError, Message};
use crate::{Normalise, Output, Raw, Recall};

/// Units of [`Price`] in one unit of ITCH's four-decimal prices.
const PRICE_UNIT: i64 = 100_000;

/// Symbols by locate; zeros where none is known.
type Symbols = Box<[[u8; 8]]>;

/// Turns ITCH 5.0 messages into events.
#[derive(Debug)]
pub struct Itch {
    midnight: Time,
    symbols: Symbols,
    by_type: Box<[u64; 256]>,
    unknown: u64,
    malformed: u64,
}

impl Default for Itch {
    fn default() -> Self {
        Self::new()
    }
}

impl Itch {
    /// Knows no instrument yet.
    pub fn new() -> Self {
        Self {
            midnight: Time(0),
            symbols: no_symbols(),
            by_type: Box::new([0; 256]),
            unknown: 0,
            malformed: 0,
        }
    }

    /// Messages by their first byte, those that occurred.
    pub fn by_type(&self) -> impl Iterator<Item = (u8, u64)> {
        (0..=u8::MAX).zip(*self.by_type).filter(|(_, count)| *count > 0)
    }

    /// Messages of a type that ITCH 5.0 does not have.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Messages without a type or of another length than their type's.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// The symbol of a locate number; blank for 0, which is the whole market.
    fn symbol(&self, locate: u16) -> Symbol {
        let known = self.symbols[usize::from(locate)];
        match locate {
            0 => Symbol::default(),
            _ if known != [0; 8] => Text(known),
            _ => unexplained(locate),
        }
    }

    /// Binds the locate of a message to its symbol, if nothing did before; then the journal is told, too.
    fn learn<O: Output<MarketEvent>>(
        &mut self,
        at: &At,
        stock: [u8; 8],
        out: &mut O,
    ) -> Result<Symbol, O::Error> {
        let known = &mut self.symbols[usize::from(at.locate)];
        if *known == [0; 8] && at.locate != 0 && stock != [0; 8] {
            let (instrument, locate) = (Text(stock), u32::from(at.locate));
            out.publish(&Instrument {
                exchange_time: at.exchange_time,
                receive_time: at.receive_time,
                venue_sequence: at.venue_sequence,
                instrument,
                locate,
                ..Instrument::default()
            })?;
            *known = stock;
        }
        Ok(Text(stock))
    }

    fn bind(&mut self, locate: u32, symbol: [u8; 8]) {
        if let Some(slot) = usize::try_from(locate).ok().and_then(|locate| self.symbols.get_mut(locate)) {
            *slot = symbol;
        }
    }

    fn count(&mut self, bytes: &[u8], result: Result<(), ItchError>) {
        if let Some(&letter) = bytes.first() {
            self.by_type[usize::from(letter)] += 1;
        }
        match result {
            Ok(()) => {}
            Err(ItchError::UnknownType(_)) => self.unknown += 1,
            Err(ItchError::Empty | ItchError::WrongLength { .. }) => self.malformed += 1,
        }
    }

    fn at(&self, raw: &Raw<'_>, head: &Head) -> At {
        let exchange_time = Time(self.midnight.0.saturating_add(head.timestamp.get()));
        let receive_time = if raw.receive_time == Time(0) { exchange_time } else { raw.receive_time };
        At { exchange_time, receive_time, venue_sequence: raw.sequence, locate: head.locate.get() }
    }

    /// Bytes that are no message of ITCH 5.0, as they came. Where they are long enough for a head, that is believed.
    fn stranger(&self, raw: &Raw<'_>) -> VenueMessage {
        let head = Head::ref_from_prefix(raw.bytes).ok().map(|(head, _)| *head);
        let at = self.at(raw, &head.unwrap_or_else(|| Head::new(0, 0, 0)));
        let exchange_time = if head.is_some() { at.exchange_time } else { Time(0) };
        let receive_time = if raw.receive_time == Time(0) { exchange_time } else { raw.receive_time };
        opaque(&At { exchange_time, receive_time, ..at }, self.symbol(at.locate), raw.bytes)
    }

    #[inline]
    fn publish<O: Output<MarketEvent>>(
        &mut self,
        raw: &Raw<'_>,
        message: Message<'_>,
        out: &mut O,
    ) -> Result<(), O::Error> {
        let at = &self.at(raw, message.head());
        let At { exchange_time, receive_time, venue_sequence, locate } = *at;
        let known = self.symbol(locate);
        match message {
            Message::AddOrder(m) => {
                let instrument = self.learn(at, m.stock, out)?;
                out.publish(&add_order(at, instrument, (m.order.get(), m.side, m.shares, m.price), [b' '; 4]))
            }
            Message::AttributedOrder(m) => {
                let instrument = self.learn(at, m.stock, out)?;
                let order = (m.order.get(), m.side, m.shares, m.price);
                out.publish(&add_order(at, instrument, order, m.participant))
            }
            Message::OrderExecuted(m) => out.publish(&ExecuteOrder {
                exchange_time,
                receive_time,
                venue_sequence,
                instrument: known,
                order: m.order.get(),
                match_number: m.match_number.get(),
                quantity: quantity(m.shares),
            }),
            Message::OrderCancel(m) => out.publish(&ReduceOrder {
                exchange_time,
                receive_time,
                venue_sequence,
                instrument: known,
                order: m.order.get(),
                quantity: quantity(m.shares),
            }),
            Message::OrderDelete(m) => out.publish(&DeleteOrder {
                exchange_time,
                receive_time,
                venue_sequence,
                instrument: known,
                order: m.order.get(),
            }),
            Message::OrderReplace(m) => out.publish(&ReplaceOrder {
                exchange_time,
                receive_time,
                venue_sequence,
                instrument: known,
                order: m.order.get(),
                new_order: m.new_order.get(),
                quantity: quantity(m.shares),
                price: price(m.price),
            }),
            other => self.publish_trade(raw, at, other, out),
        }
    }

    fn publish_trade<O: Output<MarketEvent>>(
        &mut self,
        raw: &Raw<'_>,
        at: &At,
        message: Message<'_>,
        out: &mut O,
    ) -> Result<(), O::Error> {
        let At { exchange_time, receive_time, venue_sequence, locate } = *at;
        let instrument = match stock(&message) {
            Some(stock) => self.learn(at, stock, out)?,
            None => self.symbol(locate),
        };
        match message {
            Message::OrderExecutedAtPrice(m) => out.publish(&ExecuteOrderAtPrice {
                exchange_time,
                receive_time,
                venue_sequence,
                instrument,
                order: m.order.get(),
                match_number: m.match_number.get(),
                quantity: quantity(m.shares),
                price: price(m.price),
                printable: Code(m.printable),
                ..ExecuteOrderAtPrice::default()
            }),
            Message::NonCrossTrade(m) => out.publish(&Trade {
                exchange_time,
                receive_time,
                venue_sequence,
                instrument,
                match_number: m.match_number.get(),
                price: price(m.price),
                quantity: quantity(m.shares),
                side: Side(m.side),
                ..Trade::default()
            }),
            Message::CrossTrade(m) => out.publish(&CrossTrade {
                exchange_time,
                receive_time,
                venue_sequence,
                instrument,
                match_number: m.match_number.get(),
                price: price(m.price),
                quantity: Quantity(i64::try_from(m.shares.get()).unwrap_or(i64::MAX)),
                cross: Code(m.cross),
                ..CrossTrade::default()
            }),
            Message::BrokenTrade(m) => out.publish(&BrokenTrade {
                exchange_time,
                receive_time,
                venue_sequence,
                instrument,
                match_number: m.match_number.get(),
            }),
            other => self.publish_rare(raw, at, instrument, other, out),
        }
    }

    fn publish_rare<O: Output<MarketEvent>>(
        &mut self,
        raw: &Raw<'_>,
        at: &At,
        instrument: Symbol,
        message: Message<'_>,
        out: &mut O,
    ) -> Result<(), O::Error> {
        let At { exchange_time, receive_time, venue_sequence, locate } = *at;
        let status = |state, market, reason| TradingStatus {
            exchange_time,
            receive_time,
            venue_sequence,
            instrument,
            state: Code(state),
            market: Code(market),
            reason: Text(reason),
            ..TradingStatus::default()
        };
        match message {
            Message::SystemEvent(m) => out.publish(&SystemEvent {
                exchange_time,
                receive_time,
                venue_sequence,
                code: Code(m.code),
                ..SystemEvent::default()
            }),
            Message::StockDirectory(m) => {
                out.publish(&Instrument {
                    exchange_time,
                    receive_time,
                    venue_sequence,
                    instrument: Text(m.stock),
                    locate: u32::from(locate),
                    round_lot: m.round_lot.get(),
                    category: Code(if m.category == 0 { b' ' } else { m.category }),
                    status: Code(m.status),
                    ..Instrument::default()
                })?;
                self.bind(u32::from(locate), m.stock);
                Ok(())
            }
            Message::TradingAction(m) => out.publish(&status(m.state, 0, m.reason)),
            Message::OperationalHalt(m) => {
                out.publish(&status(m.action.to_ascii_lowercase(), m.market, [b' '; 4]))
            }
            _ => out.publish(&opaque(at, instrument, raw.bytes)),
        }
    }
}

impl Normalise for Itch {
    type Event = MarketEvent;

    fn begin(&mut self, session: &Session) {
        self.midnight = session.exchange_time;
        self.symbols = no_symbols();
    }

    #[inline]
    fn message<O: Output<MarketEvent>>(&mut self, raw: Raw<'_>, out: &mut O) -> Result<(), O::Error> {
        let decoded = Message::decode(raw.bytes);
        match decoded {
            Ok(message) => self.publish(&raw, message, out)?,
            Err(_) => out.publish(&self.stranger(&raw))?,
        }
        self.count(raw.bytes, decoded.map(drop));
        Ok(())
    }

    fn recall(&mut self, event: MarketEventRef<'_>) -> Recall {
        Recall::Message(match event {
            MarketEventRef::Session(session) => {
                if session.state == Code(b'S') {
                    self.begin(session);
                }
                return Recall::Session(*session);
            }
            MarketEventRef::Gap(gap) => return Recall::Gap(*gap),
            MarketEventRef::Instrument(instrument) => {
                self.bind(instrument.locate, instrument.instrument.0);
                if instrument.category == Code(0) {
                    // Published ahead of the message that explained it, see `learn`.
                    return Recall::Nothing;
                }
                instrument.venue_sequence
            }
            MarketEventRef::SystemEvent(e) => e.venue_sequence,
            MarketEventRef::TradingStatus(e) => e.venue_sequence,
            MarketEventRef::AddOrder(e) => e.venue_sequence,
            MarketEventRef::ExecuteOrder(e) => e.venue_sequence,
            MarketEventRef::ExecuteOrderAtPrice(e) => e.venue_sequence,
            MarketEventRef::ReduceOrder(e) => e.venue_sequence,
            MarketEventRef::DeleteOrder(e) => e.venue_sequence,
            MarketEventRef::ReplaceOrder(e) => e.venue_sequence,
            MarketEventRef::Trade(e) => e.venue_sequence,
            MarketEventRef::CrossTrade(e) => e.venue_sequence,
            MarketEventRef::BrokenTrade(e) => e.venue_sequence,
            MarketEventRef::VenueMessage(e) => e.venue_sequence,
        })
    }

    /// Midnight, then each known locate with its symbol, little-endian.
    fn save(&self) -> Vec<u8> {
        let known = (0..=u16::MAX).zip(&self.symbols).filter(|(_, symbol)| **symbol != [0; 8]);
        let symbols = known.flat_map(|(locate, symbol)| [&locate.to_le_bytes()[..], symbol].concat());
        self.midnight.0.to_le_bytes().into_iter().chain(symbols).collect()
    }

    fn restore(&mut self, saved: &[u8]) -> bool {
        let Some((midnight, symbols)) = saved.split_first_chunk() else { return false };
        let (symbols, []) = symbols.as_chunks::<10>() else { return false };
        (self.midnight, self.symbols) = (Time(u64::from_le_bytes(*midnight)), no_symbols());
        for [low, high, symbol @ ..] in symbols {
            self.bind(u32::from(u16::from_le_bytes([*low, *high])), *symbol);
        }
        true
    }
}

/// When and about what a message is.
#[derive(Clone, Copy)]
struct At {
    exchange_time: Time,
    receive_time: Time,
    venue_sequence: u64,
    locate: u16,
}

fn no_symbols() -> Symbols {
    vec![[0; 8]; 1 << 16].into()
}

fn unexplained(locate: u16) -> Symbol {
    let digit = |power: u16| b'0' + u8::try_from(locate / power % 10).expect("a digit");
    Text([b'#', digit(10_000), digit(1_000), digit(100), digit(10), digit(1), b' ', b' '])
}

fn quantity(shares: U32) -> Quantity {
    Quantity(i64::from(shares.get()))
}

fn price(four_decimals: U32) -> Price {
    Price(i64::from(four_decimals.get()) * PRICE_UNIT)
}

fn add_order(
    at: &At,
    instrument: Symbol,
    (order, side, shares, limit): (u64, u8, U32, U32),
    participant: [u8; 4],
) -> AddOrder {
    AddOrder {
        exchange_time: at.exchange_time,
        receive_time: at.receive_time,
        venue_sequence: at.venue_sequence,
        instrument,
        order,
        price: price(limit),
        quantity: quantity(shares),
        side: Side(side),
        participant: Text(participant),
        ..AddOrder::default()
    }
}

/// The symbol that a message carries, unless it is a stock directory, which binds it.
fn stock(message: &Message<'_>) -> Option<[u8; 8]> {
    Some(match message {
        Message::AddOrder(m) => m.stock,
        Message::AttributedOrder(m) => m.stock,
        Message::NonCrossTrade(m) => m.stock,
        Message::CrossTrade(m) => m.stock,
        Message::TradingAction(m) => m.stock,
        Message::OperationalHalt(m) => m.stock,
        Message::ShortSaleRestriction(m) => m.stock,
        Message::ParticipantPosition(m) => m.stock,
        Message::IpoQuoting(m) => m.stock,
        Message::AuctionCollar(m) => m.stock,
        Message::Imbalance(m) => m.stock,
        Message::RetailInterest(m) => m.stock,
        Message::DirectListing(m) => m.stock,
        _ => return None,
    })
}

fn opaque(at: &At, instrument: Symbol, bytes: &[u8]) -> VenueMessage {
    let mut payload = Bytes::default();
    let kept = bytes.len().min(payload.0.len());
    payload.0[..kept].copy_from_slice(&bytes[..kept]);
    VenueMessage {
        exchange_time: at.exchange_time,
        receive_time: at.receive_time,
        venue_sequence: at.venue_sequence,
        instrument,
        message: Code(bytes.first().copied().unwrap_or(0)),
        length: u8::try_from(bytes.len()).unwrap_or(u8::MAX),
        payload,
    }
}

const _: () = assert!(
    size_of::<itch::Imbalance>() <= size_of::<Bytes<62>>(),
    "the longest message of ITCH 5.0 is kept whole"
);
