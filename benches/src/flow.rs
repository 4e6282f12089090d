//! A seeded flow of ITCH messages that a real venue could send: 500 symbols in the proportions of an equities day.
//!
//! Adds 46.5 %, deletes 38.9, replaces 4.9, executions 4.9, cancels 4.9; three in four changes among the newest 10,000
//! orders, three in four prices near the touch. Each message stands after its length, as in day files.

use market_gateway::itch::{
    AddOrder, Head, OrderCancel, OrderDelete, OrderExecuted, OrderReplace, StockDirectory,
};
use market_gateway::mold::Blocks;
use zerocopy::{FromZeros, Immutable, IntoBytes};

use crate::random::Random;

const SYMBOLS: u16 = 500;
/// One cent in ITCH's prices.
const CENT: u64 = 100;
/// Changes most often concern as many of the newest orders.
const YOUNG: u64 = 10_000;

/// Messages, each after its length.
#[derive(Default)]
pub(crate) struct Framed {
    bytes: Vec<u8>,
    count: usize,
}

impl Framed {
    /// Adds messages that are framed already.
    pub(crate) fn extend(&mut self, blocks: Blocks<'_>) {
        self.bytes.extend_from_slice(blocks.bytes());
        self.count += blocks.len();
    }

    /// The messages.
    pub(crate) fn blocks(&self) -> Blocks<'_> {
        Blocks::prefix(self.count, &self.bytes).0
    }

    /// Number of messages.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Bytes of all messages and their lengths.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn push(&mut self, message: &(impl IntoBytes + Immutable)) {
        let message = message.as_bytes();
        let length = u16::try_from(message.len()).expect("ITCH messages are short");
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(message);
        self.count += 1;
    }
}

struct Live {
    order: u64,
    locate: u16,
    side: u8,
    shares: u32,
}

/// The venue that sends the flow.
pub(crate) struct Flow {
    random: Random,
    next_order: u64,
    time: u64,
    live: Vec<Live>,
    framed: Framed,
}

impl Flow {
    /// A venue on which nothing rests.
    pub(crate) fn new() -> Self {
        Self {
            random: Random(0x5EED),
            next_order: 1,
            time: 34_200_000_000_000,
            live: Vec::new(),
            framed: Framed::default(),
        }
    }

    /// Two parts of a day: its instruments and `resting` orders (at least one), then `messages` of the mix.
    pub(crate) fn day(mut self, resting: usize, messages: usize) -> (Framed, Framed) {
        (1..=SYMBOLS).for_each(|locate| self.list(locate));
        (0..resting.max(1)).for_each(|_| self.add());
        let opening = std::mem::take(&mut self.framed);
        while self.framed.count < messages {
            let kind = self.random.below(1_000);
            match self.place() {
                Some(place) if kind >= 465 => self.change(kind, place),
                _ => self.add(),
            }
        }
        (opening, self.framed)
    }

    fn change(&mut self, kind: u64, place: usize) {
        match kind {
            ..854 => self.delete(place),
            854..903 => self.replace(place),
            903..952 => self.take(place, true),
            _ => self.take(place, false),
        }
    }

    fn head(&mut self, letter: u8, locate: u16) -> Head {
        self.time += 1_000;
        Head::new(letter, locate, self.time)
    }

    fn list(&mut self, locate: u16) {
        let head = self.head(StockDirectory::LETTER, locate);
        self.framed.push(&StockDirectory { head, stock: symbol(locate), ..StockDirectory::new_zeroed() });
    }

    fn add(&mut self) {
        let locate = u16::try_from(1 + self.random.below(u64::from(SYMBOLS))).expect("at most 500");
        // Deep books lean to one side.
        let side = if self.random.below(8) < 5 { b'B' } else { b'S' };
        let shares = 100 * (1 + self.random.below(5) as u32);
        let order = self.next_order;
        self.next_order += 1 + self.random.below(3);
        self.live.push(Live { order, locate, side, shares });
        let (head, price) = (self.head(AddOrder::LETTER, locate), self.price(locate, side));
        let stock = symbol(locate);
        self.framed.push(&AddOrder {
            head,
            order: order.into(),
            side,
            shares: shares.into(),
            stock,
            price: price.into(),
        });
    }

    fn price(&mut self, locate: u16, side: u8) -> u32 {
        let near = self.random.below(4) > 0;
        let distance = 1 + if near { self.random.distance(8) } else { self.random.below(120) };
        let middle = 1_000 + 10 * u64::from(locate);
        let cents = if side == b'B' { middle - distance } else { middle + distance };
        u32::try_from(cents * CENT).expect("below a hundred dollars")
    }

    /// An order to change, if there is one.
    fn place(&mut self) -> Option<usize> {
        let live = self.live.len() as u64;
        let among = if self.random.below(4) == 0 { live } else { live.min(YOUNG) };
        let back = self.random.below(among);
        live.checked_sub(1 + back).and_then(|place| usize::try_from(place).ok())
    }

    fn delete(&mut self, place: usize) {
        let Live { order, locate, .. } = self.live.swap_remove(place);
        let head = self.head(OrderDelete::LETTER, locate);
        self.framed.push(&OrderDelete { head, order: order.into() });
    }

    fn replace(&mut self, place: usize) {
        let new_order = self.next_order;
        self.next_order += 1;
        let Live { locate, side, shares, .. } = self.live[place];
        let order = std::mem::replace(&mut self.live[place].order, new_order);
        let (head, price) = (self.head(OrderReplace::LETTER, locate), self.price(locate, side));
        self.framed.push(&OrderReplace {
            head,
            order: order.into(),
            new_order: new_order.into(),
            shares: shares.into(),
            price: price.into(),
        });
    }

    /// Takes a part, or the whole where it is small.
    fn take(&mut self, place: usize, is_execution: bool) {
        let live = &mut self.live[place];
        let (order, locate, shares) = (live.order, live.locate, live.shares.min(100));
        live.shares -= shares;
        if live.shares == 0 {
            self.live.swap_remove(place);
        }
        if is_execution {
            let head = self.head(OrderExecuted::LETTER, locate);
            let match_number = self.time.into();
            self.framed.push(&OrderExecuted {
                head,
                order: order.into(),
                shares: shares.into(),
                match_number,
            });
        } else {
            let head = self.head(OrderCancel::LETTER, locate);
            self.framed.push(&OrderCancel { head, order: order.into(), shares: shares.into() });
        }
    }
}

fn symbol(locate: u16) -> [u8; 8] {
    let digit = |power: u16| b'0' + u8::try_from(locate / power % 10).expect("a digit");
    [b'S', digit(100), digit(10), digit(1), b' ', b' ', b' ', b' ']
}
