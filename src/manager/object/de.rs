//! An [`Object`] as any type that serde can put together.

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
        VariantAccess, Visitor,
        value::{SeqDeserializer, StrDeserializer},
    },
};

use super::{
    Home, MapIter, Object, Reader, Wire,
    ser::{NAME, Refusal},
};
use crate::{Error, Result};

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Encoded;

        impl<'de> Visitor<'de> for Encoded {
            type Value = Object;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the encoding of an object")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Object, E> {
                let mut reader = Reader::new(bytes, Home::Nowhere);
                let object = Object::read(&mut reader).map_err(E::custom)?;
                reader.finish().map_err(E::custom)?;
                Ok(object)
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Object, D::Error> {
                deserializer.deserialize_bytes(self)
            }
        }

        deserializer.deserialize_newtype_struct(NAME, Encoded)
    }
}

pub(super) fn from_object<T: DeserializeOwned>(object: &Object) -> Result<T> {
    T::deserialize(FromObject(object)).map_err(|Refusal(reason)| Error::TypeMismatch {
        expected: std::any::type_name::<T>().into(),
        found: format!("{}: {reason}", object.type_name()),
    })
}

#[derive(Clone, Copy)]
struct FromObject<'a>(&'a Object);

impl<'a> FromObject<'a> {
    fn unexpected(self) -> Unexpected<'a> {
        match self.0 {
            Object::None => Unexpected::Unit,
            Object::Bool(is) => Unexpected::Bool(*is),
            Object::Float(float) => Unexpected::Float(*float),
            Object::Str(text) => Unexpected::Str(text),
            Object::Bytes(bytes) => Unexpected::Bytes(bytes),
            Object::List(_) => Unexpected::Seq,
            Object::Dict(_) => Unexpected::Map,
            Object::Int(_) | Object::Proxy(_) => Unexpected::Other(self.0.type_name()),
        }
    }

    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.0 {
            Object::None => visitor.visit_unit(),
            Object::Bool(is) => visitor.visit_bool(*is),
            Object::Int(int) => {
                if let Ok(int) = i64::try_from(*int) {
                    visitor.visit_i64(int)
                } else if let Ok(int) = u64::try_from(*int) {
                    visitor.visit_u64(int)
                } else {
                    visitor.visit_i128(*int)
                }
            }
            Object::Float(float) => visitor.visit_f64(*float),
            Object::Str(text) => visitor.visit_str(text),
            Object::Bytes(bytes) => visitor.visit_bytes(bytes),
            Object::List(items) => visitor.visit_seq(Seq(items.iter())),
            Object::Dict(map) => visitor.visit_map(Fields { items: map.iter(), value: None }),
            Object::Proxy(_) => Err(Refusal::custom(format!("a shared {} is not copied", self.0.type_name()))),
        }
    }
}

macro_rules! as_it_is {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
            self.visit(visitor)
        })+
    };
}

impl<'de> Deserializer<'de> for FromObject<'_> {
    type Error = Refusal;

    as_it_is! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_unit
        deserialize_map deserialize_identifier
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.0 {
            Object::Bytes(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied())),
            _ => self.visit(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.0 {
            Object::None => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refusal> {
        self.visit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Refusal> {
        if name == NAME {
            let mut bytes = Vec::new();
            self.0.write(&mut bytes).map_err(Refusal::custom)?;
            return visitor.visit_bytes(&bytes);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.visit(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.visit(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let (name, value) = match self.0 {
            Object::Str(name) => (name, None),
            Object::Dict(map) if map.len() == 1 => match map.iter().next() {
                Some((Object::Str(name), value)) => (name, Some(FromObject(value))),
                _ => return Err(Refusal::invalid_type(self.unexpected(), &"the name of a variant as the key")),
            },
            _ => return Err(Refusal::invalid_type(self.unexpected(), &"a variant: its name, or a dict of one item")),
        };
        visitor.visit_enum(Variant { name, value })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_unit()
    }
}

struct Seq<'a>(std::slice::Iter<'a, Object>);

impl<'de> SeqAccess<'de> for Seq<'_> {
    type Error = Refusal;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refusal> {
        self.0.next().map(|item| seed.deserialize(FromObject(item))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Fields<'a> {
    items: MapIter<'a>,
    value: Option<&'a Object>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Refusal;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refusal> {
        let Some((key, value)) = self.items.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(FromObject(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refusal> {
        let value = self.value.take().ok_or_else(|| Refusal::custom("a value without a key"))?;
        seed.deserialize(FromObject(value))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Variant<'a> {
    name: &'a str,
    value: Option<FromObject<'a>>,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Refusal;
    type Variant = Contents<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Contents<'a>), Refusal> {
        let name: StrDeserializer<'_, Refusal> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, Contents(self.value)))
    }
}

struct Contents<'a>(Option<FromObject<'a>>);

impl<'a> Contents<'a> {
    fn some(self) -> Result<FromObject<'a>, Refusal> {
        self.0.ok_or_else(|| Refusal::custom("a variant without its contents"))
    }
}

impl<'de> VariantAccess<'de> for Contents<'_> {
    type Error = Refusal;

    fn unit_variant(self) -> Result<(), Refusal> {
        match self.0 {
            None => Ok(()),
            Some(value) => Err(Refusal::invalid_type(value.unexpected(), &"a variant without contents")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Refusal> {
        seed.deserialize(self.some()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Refusal> {
        self.some()?.visit(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Refusal> {
        self.some()?.visit(visitor)
    }
}
