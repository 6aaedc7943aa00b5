//! The leaves of the JSON mapping: what Go's decoders take for a number, bytes, an enum, nothing.
//!
//! The generated code (pbjson) knows the messages and their fields; for the values in them it comes
//! here. Written is what etcd's gateway writes: names of fields as in the `.proto` files, 64-bit
//! numbers as strings, bytes in base64 with padding, enums by name, and nothing that is zero. Read is
//! more: camelCase names, numbers with or without quotes, either base64 alphabet, enums by number,
//! `null` for anything, and unknown fields, which are skipped.
//!
//! ```text
//! {"key":"Zm9v","limit":"10","sort_order":"ASCEND"}      as etcd writes it
//! {"key":"Zm9v\n","limit":1e1,"sortOrder":1,"x":null}    means the same
//! ```
use std::fmt;
use std::marker::PhantomData;

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::value::StrDeserializer;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Unexpected, Visitor};

/// Bytes as text: the standard alphabet, with padding.
pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// Go takes any last digit, whatever its low bits; we take any padding, which etcd 3.6 does half.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
const LENIENT_STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const LENIENT_URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// A field of bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Base64<T>(pub T);

/// A field of a whole number of any size.
#[derive(Clone, Copy, Debug, Default)]
pub struct Number<T>(pub T);

/// A field of an enum: its name, or any number, which the server judges.
#[derive(Clone, Copy, Debug)]
pub struct Enum<T> {
    number: i32,
    of: PhantomData<T>,
}

impl<T> Enum<T> {
    /// The number.
    pub fn number(&self) -> i32 {
        self.number
    }
}

/// A repeated field; `null` is none.
#[derive(Clone, Debug, Default)]
pub struct List<T>(Vec<T>);

impl<T> IntoIterator for List<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Any other field; `null` is the zero of its type.
#[derive(Clone, Debug, Default)]
pub struct OrDefault<T>(pub T);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for OrDefault<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<T>::deserialize(deserializer).map(|value| OrDefault(value.unwrap_or_default()))
    }
}

impl<'de, T: From<Vec<u8>>> Deserialize<'de> for Base64<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BytesVisitor).map(|bytes| Base64(bytes.into()))
    }
}

struct BytesVisitor;

impl Visitor<'_> for BytesVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("bytes in base64")
    }

    fn visit_unit<E: Error>(self) -> Result<Vec<u8>, E> {
        Ok(Vec::new())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<u8>, E> {
        // Encoders break lines; Go skips the breaks.
        let joined: String;
        let text = match text.contains(['\r', '\n']) {
            true => {
                joined = text.replace(['\r', '\n'], "");
                &joined
            }
            false => text,
        };
        let alphabet = if text.contains(['-', '_']) { LENIENT_URL_SAFE } else { LENIENT_STANDARD };
        alphabet.decode(text).map_err(|error| E::custom(format_args!("illegal base64 data: {error}")))
    }
}

impl<'de, T: TryFrom<i128>> Deserialize<'de> for Number<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = deserializer.deserialize_any(NumberVisitor { quoted: true })?;
        T::try_from(number)
            .map(Number)
            .map_err(|_| D::Error::custom(format_args!("{number} does not fit into its field")))
    }
}

struct NumberVisitor {
    /// Whether text may be a number.
    quoted: bool,
}

impl Visitor<'_> for NumberVisitor {
    type Value = i128;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a whole number")
    }

    fn visit_unit<E: Error>(self) -> Result<i128, E> {
        Ok(0)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<i128, E> {
        Ok(number.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<i128, E> {
        Ok(number.into())
    }

    /// 1e3 and 2.0 are whole too.
    fn visit_f64<E: Error>(self, number: f64) -> Result<i128, E> {
        let whole = number.fract() == 0.0 && number.abs() < 1e30;
        if whole { Ok(number as i128) } else { Err(E::invalid_value(Unexpected::Float(number), &self)) }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<i128, E> {
        let refused = || E::invalid_value(Unexpected::Str(text), &NumberVisitor { quoted: false });
        // Rust's own readers take more than JSON's numbers: `+1`, `inf`, `.5`.
        let digits = text.strip_prefix('-').unwrap_or(text);
        let begins_well = digits.starts_with(|first: char| first.is_ascii_digit());
        if !self.quoted || !begins_well {
            return Err(refused());
        }
        match text.parse::<i128>() {
            Ok(number) => Ok(number),
            Err(_) => match text.parse::<f64>() {
                Ok(number) => self.visit_f64(number),
                Err(_) => Err(refused()),
            },
        }
    }
}

impl<'de, T: Deserialize<'de> + Into<i32>> Deserialize<'de> for Enum<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EnumVisitor(PhantomData))
    }
}

struct EnumVisitor<T>(PhantomData<T>);

impl<T> EnumVisitor<T> {
    fn numbered<E: Error>(number: i128) -> Result<Enum<T>, E> {
        let number = i32::try_from(number).map_err(|_| E::custom(format_args!("{number} is no enum's")))?;
        Ok(Enum { number, of: PhantomData })
    }
}

impl<'de, T: Deserialize<'de> + Into<i32>> Visitor<'de> for EnumVisitor<T> {
    type Value = Enum<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name or a number")
    }

    fn visit_unit<E: Error>(self) -> Result<Enum<T>, E> {
        Self::numbered(0)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Enum<T>, E> {
        Self::numbered(number.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Enum<T>, E> {
        Self::numbered(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Enum<T>, E> {
        NumberVisitor { quoted: false }.visit_f64(number).and_then(Self::numbered)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Enum<T>, E> {
        T::deserialize(StrDeserializer::new(name)).and_then(|value| Self::numbered(value.into().into()))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor(PhantomData)).map(List)
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_unit<E: Error>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(list)
    }
}
