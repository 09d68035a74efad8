//! A value that is a text or a table, such as `"web:prod"` or `{ pins = …, name = … }`.
//! Unlike an untagged enum of serde, it keeps the position and the reason of an error.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A text, or the table `T`.
pub(super) enum OrTable<T> {
    Text(String),
    Table(T),
}

/// The text that may replace a table.
pub(super) trait TextForm {
    /// What the value may be, in words.
    const EXPECTED: &str;
    /// The regular expression of the text, for editors.
    const PATTERN: &str;
}

impl<'de, T: Deserialize<'de> + TextForm> Deserialize<'de> for OrTable<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either(PhantomData))
    }
}

struct Either<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + TextForm> Visitor<'de> for Either<T> {
    type Value = OrTable<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(OrTable::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(OrTable::Table)
    }
}

impl<T: JsonSchema + TextForm> JsonSchema for OrTable<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("TextOr{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "type": "string", "pattern": T::PATTERN }, table] })
    }
}
