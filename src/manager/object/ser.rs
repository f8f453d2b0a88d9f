//! Any value that serde can take apart, as an [`Object`]; and objects as serde sees them.

use std::fmt;

use serde::{
    Serialize, Serializer,
    ser::{
        self, Error as _, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};

use super::{Map, Object, Wire};
use crate::{Error, Result};

const SHARED: &str = "a value with shared lists or dicts in it: send those by themselves";

/// The name under which an object travels as bytes.
pub(super) const NAME: &str = "$shmkit::Object";

/// As what it is where the format says that of its values, as JSON does; else in its own encoding, as bytes. One with a list,
/// dict or namespace of a manager in it cannot go either way.
impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return match self {
                Self::None => serializer.serialize_unit(),
                Self::Bool(is) => serializer.serialize_bool(*is),
                Self::Int(int) => match (i64::try_from(*int), u64::try_from(*int)) {
                    (Ok(int), _) => serializer.serialize_i64(int),
                    (_, Ok(int)) => serializer.serialize_u64(int),
                    _ => serializer.serialize_i128(*int),
                },
                Self::Float(float) => serializer.serialize_f64(*float),
                Self::Str(text) => serializer.serialize_str(text),
                Self::Bytes(bytes) => serializer.serialize_bytes(bytes),
                Self::List(items) => serializer.collect_seq(items),
                Self::Dict(map) => serializer.collect_map(map),
                Self::Proxy(_) => Err(S::Error::custom(SHARED)),
            };
        }
        let mut proxies = 0;
        self.for_each_proxy(&mut |_| proxies += 1);
        if proxies > 0 {
            return Err(S::Error::custom(SHARED));
        }
        let mut bytes = Vec::new();
        self.write(&mut bytes).map_err(S::Error::custom)?;
        serializer.serialize_newtype_struct(NAME, &Bytes(&bytes))
    }
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

pub(super) fn to_object<T: Serialize + ?Sized>(value: &T) -> Result<Object> {
    value
        .serialize(ToObject)
        .map_err(|Refusal(reason)| Error::NotSendable { type_name: std::any::type_name::<T>().into(), reason })
}

/// What serde says.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

impl ser::Error for Refusal {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

impl serde::de::Error for Refusal {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

struct ToObject;

/// The parts of a value that were seen so far.
struct Items {
    items: Vec<Object>,
    /// The variant that it is of, if it is of one.
    variant: Option<&'static str>,
}

struct Fields {
    map: Map,
    key: Option<Object>,
    variant: Option<&'static str>,
}

impl Items {
    fn new(variant: Option<&'static str>) -> Self {
        Self { items: Vec::new(), variant }
    }

    fn add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        self.items.push(value.serialize(ToObject)?);
        Ok(())
    }

    fn finish(self) -> Object {
        of_variant(self.variant, Object::List(self.items))
    }
}

impl Fields {
    fn new(variant: Option<&'static str>) -> Self {
        Self { map: Map::new(), key: None, variant }
    }

    fn add<T: Serialize + ?Sized>(&mut self, key: Object, value: &T) -> Result<(), Refusal> {
        key.check_key().map_err(|error| Refusal(error.to_string()))?;
        if self.map.find(&key).is_some() {
            return Err(Refusal(format!("two keys that are equal: {key}")));
        }
        self.map.put(key, value.serialize(ToObject)?);
        Ok(())
    }

    fn finish(self) -> Object {
        of_variant(self.variant, Object::Dict(self.map))
    }
}

fn of_variant(variant: Option<&'static str>, object: Object) -> Object {
    match variant {
        None => object,
        Some(name) => Object::Dict(Map::from_iter([(name, object)])),
    }
}

macro_rules! plainly {
    ($($method:ident: $type:ty),+) => {
        $(fn $method(self, value: $type) -> Result<Object, Refusal> {
            Ok(Object::from(value))
        })+
    };
}

impl Serializer for ToObject {
    type Ok = Object;
    type Error = Refusal;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Fields;
    type SerializeStruct = Fields;
    type SerializeStructVariant = Fields;

    plainly! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_f32: f32, serialize_f64: f64, serialize_char: char, serialize_str: &str
    }

    fn serialize_u128(self, value: u128) -> Result<Object, Refusal> {
        i128::try_from(value)
            .map(Object::Int)
            .map_err(|_| Refusal(format!("{value} does not fit 128 bits with a sign")))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Object, Refusal> {
        Ok(Object::bytes(value))
    }

    fn serialize_none(self) -> Result<Object, Refusal> {
        Ok(Object::None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Object, Refusal> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Object, Refusal> {
        Ok(Object::None)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Object, Refusal> {
        Ok(Object::None)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Object, Refusal> {
        Ok(Object::from(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Object, Refusal> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Object, Refusal> {
        Ok(of_variant(Some(variant), value.serialize(self)?))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items, Refusal> {
        Ok(Items::new(None))
    }

    fn serialize_tuple(self, _: usize) -> Result<Items, Refusal> {
        Ok(Items::new(None))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Items, Refusal> {
        Ok(Items::new(None))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Items, Refusal> {
        Ok(Items::new(Some(variant)))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Fields, Refusal> {
        Ok(Fields::new(None))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields, Refusal> {
        Ok(Fields::new(None))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Fields, Refusal> {
        Ok(Fields::new(Some(variant)))
    }
}

macro_rules! collects {
    ($($trait:ident, $method:ident;)+) => {
        $(impl $trait for Items {
            type Ok = Object;
            type Error = Refusal;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
                self.add(value)
            }

            fn end(self) -> Result<Object, Refusal> {
                Ok(self.finish())
            }
        })+
    };
}

collects! {
    SerializeSeq, serialize_element;
    SerializeTuple, serialize_element;
    SerializeTupleStruct, serialize_field;
    SerializeTupleVariant, serialize_field;
}

macro_rules! collects_fields {
    ($($trait:ident)+) => {
        $(impl $trait for Fields {
            type Ok = Object;
            type Error = Refusal;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Refusal> {
                self.add(key.into(), value)
            }

            fn end(self) -> Result<Object, Refusal> {
                Ok(self.finish())
            }
        })+
    };
}

collects_fields!(SerializeStruct SerializeStructVariant);

impl SerializeMap for Fields {
    type Ok = Object;
    type Error = Refusal;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refusal> {
        self.key = Some(key.serialize(ToObject)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        let key = self.key.take().ok_or_else(|| Refusal("a value without a key".into()))?;
        self.add(key, value)
    }

    fn end(self) -> Result<Object, Refusal> {
        Ok(self.finish())
    }
}
