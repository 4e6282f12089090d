//! ExecutionReport (35=8) of FIX 4.4 to the events of the topic `trades`.
//!
//! | ExecType (150) | Event |
//! | --- | --- |
//! | `F` trade | [`Fill`] |
//! | `G` trade correct | [`FillCorrection`] |
//! | `H` trade cancel | [`FillBust`] |
//! | `I` order status | none: it reports a state and changes nothing |
//! | `0` `3` to `9` `A` to `E` | [`OrderUpdate`] |
//!
//! One that cannot be kept, or may be a repetition, is told as [`Withheld`], with what of it can be kept.
//!
//! `1` and `2` are fills of FIX 4.2; in a FIX 4.4 session they are refused rather than guessed at.

use bus::event::{
    Code, Price, Quantity, Side, Symbol, Text, Time,
    trade::{Fill, FillBust, FillCorrection, OrderUpdate, TradeEvent, Withheld},
};

use super::{
    message::{Defect, Fault, Message},
    value::{self, DecimalError},
};

/// An execution is known by its trade date and ExecID within a drop copy session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Trade date as the number YYYYMMDD.
    pub trade_date: u32,
    /// ExecID (17).
    pub execution: Text<32>,
}

impl Identity {
    /// The identity of an event.
    pub fn of(event: &TradeEvent) -> Self {
        let (trade_date, execution) = match event {
            TradeEvent::Fill(e) => (e.trade_date, e.execution),
            TradeEvent::OrderUpdate(e) => (e.trade_date, e.execution),
            TradeEvent::FillCorrection(e) => (e.trade_date, e.execution),
            TradeEvent::FillBust(e) => (e.trade_date, e.execution),
            TradeEvent::Withheld(e) => (e.trade_date, e.execution),
        };
        Self { trade_date, execution }
    }
}

/// The event of an ExecutionReport that was received at `receive_time`; `None` for a status report.
///
/// An account that is not given stays blank, and so does a symbol of more than eight bytes: it would pass for another
/// instrument if it were cut. Without trade date (75) the date of the transaction (60) counts, else that of the first
/// sending (122, 52).
///
/// # Errors
/// What is wrong with the message's form; else the first field that is missing or cannot be kept exactly:
/// `Fault::Missing`, `Format` (no number, no time) or `Value` (a fraction of a quantity, more than nine decimal places, a
/// side or ExecType that FIX 4.4 does not have).
pub fn event(message: &Message<'_>, receive_time: Time) -> Result<Option<TradeEvent>, Defect> {
    if let Some(defect) = message.defect {
        return Err(defect);
    }
    let report = Report::read(message);
    let common = Common::read(&report, message, receive_time)?;
    match report.execution_type {
        Some(b"I") => Ok(None),
        Some(b"F") => report.fill(&common).map(TradeEvent::Fill).map(Some),
        Some(b"G") => report.correction(&common).map(TradeEvent::FillCorrection).map(Some),
        Some(b"H") => report.bust(&common).map(TradeEvent::FillBust).map(Some),
        Some(&[kind @ (b'0' | b'3'..=b'9' | b'A'..=b'E')]) => {
            report.update(&common, Code(kind)).map(TradeEvent::OrderUpdate).map(Some)
        }
        Some(_) => Err(Defect::new(150, Fault::Value)),
        None => Err(Defect::new(150, Fault::Missing)),
    }
}

/// The trace of a report that [`event`] refuses.
pub fn refused(message: &Message<'_>, defect: Defect, receive_time: Time) -> Withheld {
    let cause = match defect.fault {
        Fault::Missing => Withheld::MISSING,
        _ => Withheld::VALUE,
    };
    Withheld { cause, tag: defect.tag, ..withheld(message, receive_time) }
}

/// The trace of a report whose execution may be journalled already.
pub fn repetition(message: &Message<'_>, receive_time: Time) -> Withheld {
    Withheld { cause: Withheld::REPETITION, ..withheld(message, receive_time) }
}

/// What of a report can be kept, without why it is withheld.
fn withheld(message: &Message<'_>, receive_time: Time) -> Withheld {
    let report = Report::read(message);
    let identifier = |text: Option<&[u8]>| text.map(value::identifier).unwrap_or_default();
    Withheld {
        exchange_time: report.transaction_time.and_then(value::timestamp).unwrap_or_default(),
        receive_time,
        venue_sequence: message.number.unwrap_or(0),
        instrument: report.symbol.and_then(value::fitting).unwrap_or_default(),
        trade_date: report.trade_date().unwrap_or_default(),
        execution_type: report.execution_type.and_then(|text| code(150, text).ok()).unwrap_or_default(),
        account: report.account.map(value::account).unwrap_or_default(),
        execution: identifier(report.execution),
        order: identifier(report.order),
        client_order: identifier(report.client_order),
        ..Withheld::default()
    }
}

/// The fields that we use, as they came.
#[derive(Default)]
struct Report<'a> {
    account: Option<&'a [u8]>,
    client_order: Option<&'a [u8]>,
    filled: Option<&'a [u8]>,
    execution: Option<&'a [u8]>,
    reference: Option<&'a [u8]>,
    last_price: Option<&'a [u8]>,
    last_quantity: Option<&'a [u8]>,
    order: Option<&'a [u8]>,
    order_quantity: Option<&'a [u8]>,
    status: Option<&'a [u8]>,
    original_client_order: Option<&'a [u8]>,
    limit_price: Option<&'a [u8]>,
    sending_time: Option<&'a [u8]>,
    side: Option<&'a [u8]>,
    symbol: Option<&'a [u8]>,
    transaction_time: Option<&'a [u8]>,
    trade_date: Option<&'a [u8]>,
    original_sending_time: Option<&'a [u8]>,
    execution_type: Option<&'a [u8]>,
    leaves: Option<&'a [u8]>,
    liquidity: Option<&'a [u8]>,
}

/// What all kinds of events share.
struct Common {
    exchange_time: Time,
    receive_time: Time,
    venue_sequence: u64,
    instrument: Symbol,
    trade_date: u32,
    account: Text<16>,
    execution: Text<32>,
    order: Text<32>,
    client_order: Text<32>,
    side: Side,
    status: Code,
    leaves: Quantity,
}

impl Common {
    fn read(report: &Report<'_>, message: &Message<'_>, receive_time: Time) -> Result<Self, Defect> {
        let exchange_time = match report.transaction_time {
            Some(text) => value::timestamp(text).ok_or(Defect::new(60, Fault::Format))?,
            None => Time(0),
        };
        Ok(Self {
            exchange_time,
            receive_time,
            venue_sequence: message.number.unwrap_or(0),
            instrument: value::fitting(required(55, report.symbol)?).unwrap_or_default(),
            trade_date: report.trade_date()?,
            account: report.account.map_or_else(Text::default, value::account),
            execution: value::identifier(required(17, report.execution)?),
            order: value::identifier(required(37, report.order)?),
            client_order: report.client_order.map_or_else(Text::default, value::identifier),
            side: report.side()?,
            status: code(39, required(39, report.status)?)?,
            leaves: quantity(151, required(151, report.leaves)?)?,
        })
    }
}

impl<'a> Report<'a> {
    /// Where a field comes twice, as in repeating groups, the first counts.
    fn read(message: &Message<'a>) -> Self {
        let mut report = Self::default();
        for (tag, value) in message.fields() {
            let field = match tag {
                1 => &mut report.account,
                11 => &mut report.client_order,
                14 => &mut report.filled,
                17 => &mut report.execution,
                19 => &mut report.reference,
                31 => &mut report.last_price,
                32 => &mut report.last_quantity,
                37 => &mut report.order,
                38 => &mut report.order_quantity,
                39 => &mut report.status,
                41 => &mut report.original_client_order,
                44 => &mut report.limit_price,
                52 => &mut report.sending_time,
                54 => &mut report.side,
                55 => &mut report.symbol,
                60 => &mut report.transaction_time,
                75 => &mut report.trade_date,
                122 => &mut report.original_sending_time,
                150 => &mut report.execution_type,
                151 => &mut report.leaves,
                851 => &mut report.liquidity,
                _ => continue,
            };
            field.get_or_insert(value);
        }
        report
    }

    fn trade_date(&self) -> Result<u32, Defect> {
        if let Some(text) = self.trade_date {
            return value::date(text).ok_or(Defect::new(75, Fault::Format));
        }
        // A resent message has a SendingTime of its own; only the first one is the same every time.
        let time = self.transaction_time.or(self.original_sending_time).or(self.sending_time);
        time.and_then(|text| value::date(text.get(..8)?)).ok_or(Defect::new(75, Fault::Missing))
    }

    /// The two sides that a position knows; sell short and sell short exempt are sales, and what is neither bought nor
    /// sold (a cross, say) is unknown.
    fn side(&self) -> Result<Side, Defect> {
        match code(54, required(54, self.side)?)?.0 {
            b'1' | b'3' => Ok(Side::BUY),
            b'2' | b'4' | b'5' | b'6' => Ok(Side::SELL),
            _ => Ok(Side::default()),
        }
    }

    /// Price and quantity of what was traded.
    fn traded(&self, common: &Common) -> Result<(Price, Quantity), Defect> {
        if common.side.sign() == 0 {
            return Err(Defect::new(54, Fault::Value));
        }
        let traded = quantity(32, required(32, self.last_quantity)?)?;
        if traded.0 <= 0 {
            return Err(Defect::new(32, Fault::Value));
        }
        Ok((price(31, required(31, self.last_price)?)?, traded))
    }

    fn fill(&self, common: &Common) -> Result<Fill, Defect> {
        let (price, quantity) = self.traded(common)?;
        Ok(Fill {
            exchange_time: common.exchange_time,
            receive_time: common.receive_time,
            venue_sequence: common.venue_sequence,
            instrument: common.instrument,
            price,
            quantity,
            leaves: common.leaves,
            trade_date: common.trade_date,
            side: common.side,
            liquidity: self.liquidity()?,
            _pad: [0; 2],
            account: common.account,
            execution: common.execution,
            order: common.order,
            client_order: common.client_order,
        })
    }

    fn correction(&self, common: &Common) -> Result<FillCorrection, Defect> {
        let fill = self.fill(common)?;
        Ok(FillCorrection {
            exchange_time: fill.exchange_time,
            receive_time: fill.receive_time,
            venue_sequence: fill.venue_sequence,
            instrument: fill.instrument,
            price: fill.price,
            quantity: fill.quantity,
            leaves: fill.leaves,
            trade_date: fill.trade_date,
            side: fill.side,
            liquidity: fill.liquidity,
            _pad: [0; 2],
            account: fill.account,
            execution: fill.execution,
            order: fill.order,
            client_order: fill.client_order,
            reference: self.reference()?,
        })
    }

    fn bust(&self, common: &Common) -> Result<FillBust, Defect> {
        Ok(FillBust {
            exchange_time: common.exchange_time,
            receive_time: common.receive_time,
            venue_sequence: common.venue_sequence,
            instrument: common.instrument,
            trade_date: common.trade_date,
            _pad: [0; 4],
            account: common.account,
            execution: common.execution,
            reference: self.reference()?,
        })
    }

    fn update(&self, common: &Common, execution_type: Code) -> Result<OrderUpdate, Defect> {
        let original = self.original_client_order;
        Ok(OrderUpdate {
            exchange_time: common.exchange_time,
            receive_time: common.receive_time,
            venue_sequence: common.venue_sequence,
            instrument: common.instrument,
            price: self.limit_price.map_or(Ok(Price(0)), |text| price(44, text))?,
            quantity: self.order_quantity.map_or(Ok(Quantity(0)), |text| quantity(38, text))?,
            filled: quantity(14, required(14, self.filled)?)?,
            leaves: common.leaves,
            trade_date: common.trade_date,
            side: common.side,
            execution_type,
            status: common.status,
            _pad: 0,
            account: common.account,
            execution: common.execution,
            order: common.order,
            client_order: common.client_order,
            original_client_order: original.map_or_else(Text::default, value::identifier),
        })
    }

    fn liquidity(&self) -> Result<Code, Defect> {
        self.liquidity.map_or(Ok(Code(0)), |text| code(851, text))
    }

    fn reference(&self) -> Result<Text<32>, Defect> {
        required(19, self.reference).map(value::identifier)
    }
}

fn required(tag: u32, value: Option<&[u8]>) -> Result<&[u8], Defect> {
    value.ok_or(Defect::new(tag, Fault::Missing))
}

fn code(tag: u32, text: &[u8]) -> Result<Code, Defect> {
    match text {
        [code] => Ok(Code(*code)),
        _ => Err(Defect::new(tag, Fault::Format)),
    }
}

fn price(tag: u32, text: &[u8]) -> Result<Price, Defect> {
    value::price(text).map_err(|error| decimal_defect(tag, error))
}

fn quantity(tag: u32, text: &[u8]) -> Result<Quantity, Defect> {
    value::quantity(text).map_err(|error| decimal_defect(tag, error))
}

fn decimal_defect(tag: u32, error: DecimalError) -> Defect {
    let fault = match error {
        DecimalError::Malformed => Fault::Format,
        DecimalError::Inexact | DecimalError::Overflow => Fault::Value,
    };
    Defect::new(tag, fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRADE: &str = "8=FIX.4.4|35=8|34=7|49=V|56=U|52=20260103-00:00:00|37=O1|17=E1|150=F|39=1|55=ESZ6|54=5|\
                         1=A|11=C1|31=101.25|32=3|151=2|14=3|6=101.25|60=20260102-03:04:05.5|851=1|";

    fn read(text: &str) -> Result<Option<TradeEvent>, Defect> {
        let bytes = text.replace('|', "\u{1}").into_bytes();
        event(&Message::parse(&bytes), Time(9))
    }

    fn fill(text: &str) -> Fill {
        match read(text) {
            Ok(Some(TradeEvent::Fill(fill))) => fill,
            Ok(_) => panic!("not a fill"),
            Err(defect) => panic!("{defect}"),
        }
    }

    #[test]
    fn a_trade_is_a_fill() {
        let text = |text| Text::new(text).unwrap();
        let expected = Fill {
            exchange_time: Time(1_767_323_045_500_000_000),
            receive_time: Time(9),
            venue_sequence: 7,
            instrument: Text::new("ESZ6").unwrap(),
            price: Price(101_250_000_000),
            quantity: Quantity(3),
            leaves: Quantity(2),
            trade_date: 20_260_102,
            side: Side::SELL,
            liquidity: Code(b'1'),
            _pad: [0; 2],
            account: Text::new("A").unwrap(),
            execution: text("E1"),
            order: text("O1"),
            client_order: text("C1"),
        };
        assert_eq!(fill(TRADE), expected);
        assert_eq!(fill(&TRADE.replace("851=1|", "75=20251231|")).trade_date, 20_251_231);
        assert!(fill(&TRADE.replace("|1=A|", "|")).account.is_blank());
        assert!(fill(&TRADE.replace("ESZ6", "A-LONG-SYMBOL")).instrument.is_blank());
    }

    #[test]
    fn corrections_busts_updates_and_status() {
        let correction = TRADE.replace("150=F", "150=G|19=E0");
        assert!(
            matches!(read(&correction), Ok(Some(TradeEvent::FillCorrection(c))) if c.reference == Text::new("E0").unwrap())
        );
        let bust = TRADE.replace("150=F", "150=H|19=E0").replace("31=101.25|32=3|", "");
        assert!(
            matches!(read(&bust), Ok(Some(TradeEvent::FillBust(b))) if b.reference == Text::new("E0").unwrap())
        );
        for kind in "03456789ABCDE".chars() {
            let update = read(&TRADE.replace("150=F", &format!("150={kind}")));
            assert!(
                matches!(update, Ok(Some(TradeEvent::OrderUpdate(u))) if u.execution_type == Code(kind as u8))
            );
        }
        assert!(matches!(read(&TRADE.replace("150=F", "150=I")), Ok(None)));
    }

    #[test]
    fn what_cannot_be_kept_is_refused_by_its_tag() {
        let refused = |from: &str, to: &str| read(&TRADE.replace(from, to)).err();
        for tag in [37, 17, 150, 39, 55, 54, 31, 32, 151] {
            let without: String =
                TRADE.split_inclusive('|').filter(|field| !field.starts_with(&format!("{tag}="))).collect();
            assert_eq!(read(&without).err(), Some(Defect::new(tag, Fault::Missing)));
        }
        assert_eq!(refused("32=3", "32=2.5"), Some(Defect::new(32, Fault::Value)));
        assert_eq!(refused("32=3", "32=0"), Some(Defect::new(32, Fault::Value)));
        assert_eq!(refused("31=101.25", "31=1e2"), Some(Defect::new(31, Fault::Format)));
        assert_eq!(refused("54=5", "54=8"), Some(Defect::new(54, Fault::Value)));
        assert_eq!(refused("150=F", "150=2"), Some(Defect::new(150, Fault::Value)));
        assert_eq!(refused("150=F", "150=G"), Some(Defect::new(19, Fault::Missing)));
        assert_eq!(refused("60=2026", "60=x026"), Some(Defect::new(60, Fault::Format)));
    }
}
