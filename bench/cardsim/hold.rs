//! A card in one's hand: it takes commands line by line, and goes at the end of the input.
use std::io::BufRead;
use std::process::ExitCode;

use bramble_bench::cardsim::{CUTS, Call, Card, CardError, CardOptions, Cut, Errno, Fault, Grain};

/// What lines are understood.
pub const HELP: &str = "line by line:
  cut drop|keep|prefix|subset|old|tear [SEED]    the power goes; this is left of what was not flushed
  cut-at N drop|… [SEED]                         the same in place of the Nth write or flush from now
  on                                             the power is back: mount again
  grain sector|page                              the smallest piece that a cut keeps or loses
  fail read|write|flush eio|enospc|erofs N [for-ever]
                                                 the Nth such call from now fails, or all from there
  well                                           no call fails any more
  lie | honest                                   flushes are answered and not done | done
  unplug | plug                                  take the card out in good order | put it in
  flip BYTE BIT                                  damage a bit of the medium, best while unplugged
  counts                                         what was done to it";

/// What a line asks for.
#[derive(Debug, PartialEq)]
enum Order {
    Cut(Cut, u64),
    CutAt(u64, Cut, u64),
    On,
    Grain(Grain),
    Fail(Option<Fault>),
    Lie(bool),
    Unplug,
    Plug,
    Flip(u64, u8),
    Counts,
}

fn number(word: &str) -> Option<u64> {
    word.parse().ok()
}

/// The cut with this name, and the seed after it.
fn cut(words: &[&str]) -> Option<(Cut, u64)> {
    let (name, seed) = match words {
        [name] => (name, 1),
        [name, seed] => (name, number(seed)?),
        _ => return None,
    };
    let cut = CUTS.into_iter().find(|cut| format!("{cut:?}").eq_ignore_ascii_case(name))?;
    Some((cut, seed))
}

/// Counted from 1.
fn nth(word: &str) -> Option<u64> {
    number(word)?.checked_sub(1)
}

fn fault(call: &str, errno: &str, count: &str, for_ever: bool) -> Option<Fault> {
    let call = match call {
        "read" => Call::Read,
        "write" => Call::Write,
        "flush" => Call::Flush,
        _ => return None,
    };
    let errno = match errno {
        "eio" => Errno::Eio,
        "enospc" => Errno::Enospc,
        "erofs" => Errno::Erofs,
        _ => return None,
    };
    Some(Fault { call, after: nth(count)?, errno, for_ever })
}

fn parse(line: &str) -> Option<Order> {
    let words: Vec<&str> = line.split_whitespace().collect();
    Some(match words.as_slice() {
        ["cut", rest @ ..] => cut(rest).map(|(cut, seed)| Order::Cut(cut, seed))?,
        ["cut-at", count, rest @ ..] => {
            let ((cut, seed), after) = (cut(rest)?, nth(count)?);
            Order::CutAt(after, cut, seed)
        }
        ["on"] => Order::On,
        ["grain", "sector"] => Order::Grain(Grain::Sector),
        ["grain", "page"] => Order::Grain(Grain::Page),
        ["fail", call, errno, count] => Order::Fail(Some(fault(call, errno, count, false)?)),
        ["fail", call, errno, count, "for-ever"] => Order::Fail(Some(fault(call, errno, count, true)?)),
        ["well"] => Order::Fail(None),
        ["lie"] => Order::Lie(true),
        ["honest"] => Order::Lie(false),
        ["unplug"] => Order::Unplug,
        ["plug"] => Order::Plug,
        ["flip", byte, bit] => Order::Flip(number(byte)?, bit.parse().ok()?),
        ["counts"] => Order::Counts,
        _ => return None,
    })
}

fn follow(card: &mut Card, order: Order) -> Result<(), CardError> {
    match order {
        Order::Cut(cut, seed) => card.cut(cut, seed)?,
        Order::CutAt(after, cut, seed) => card.cut_at(after, cut, seed),
        Order::On => card.power_on()?,
        Order::Grain(grain) => card.set_grain(grain),
        Order::Fail(fault) => card.fail(fault),
        Order::Lie(lies) => card.lie(lies),
        Order::Unplug => card.unplug()?,
        Order::Plug => card.plug_in()?,
        Order::Flip(byte, bit) => card.flip(byte, bit)?,
        Order::Counts => println!("{:?}", card.counts()),
    }
    Ok(())
}

/// Makes the card, prints its folder, and follows orders.
pub fn hold(options: CardOptions) -> ExitCode {
    let mut card = match Card::make(options) {
        Ok(card) => card,
        Err(error) => {
            eprintln!("no card: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("{}", card.files().display());
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match parse(&line) {
            None => eprintln!("not understood: {line}\n{HELP}"),
            Some(order) => match follow(&mut card, order) {
                Ok(()) => println!("done"),
                Err(error) => println!("failed: {error}"),
            },
        }
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_orders() {
        assert_eq!(parse("cut old"), Some(Order::Cut(Cut::Old, 1)));
        assert_eq!(parse("cut-at 5 subset 7"), Some(Order::CutAt(4, Cut::Subset, 7)));
        let fault = Fault { call: Call::Flush, after: 0, errno: Errno::Eio, for_ever: true };
        assert_eq!(parse("fail flush eio 1 for-ever"), Some(Order::Fail(Some(fault))));
        assert_eq!(parse("flip 4096 3"), Some(Order::Flip(4096, 3)));
        for wrong in ["", "cut", "cut sideways", "cut-at 0 drop", "fail write eio", "flip 1 x", "on on"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
