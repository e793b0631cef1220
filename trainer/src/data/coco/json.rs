//! The parts of the JSON that are read, in as little memory as they take: the text is never held, and masks are skipped over.

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use std::{fmt, marker::PhantomData};

/// More than any data set has; ten million boxes take 480 MB while they are read.
const MAX_IMAGES: usize = 2_000_000;
const MAX_ANNOTATIONS: usize = 10_000_000;
const MAX_CATEGORIES: usize = super::super::names::MAX_CLASSES;

/// The whole file.
#[derive(Deserialize)]
pub struct File {
    /// Which images there are.
    #[serde(deserialize_with = "list::<_, _, MAX_IMAGES>")]
    pub images: Vec<Image>,
    /// What is on them.
    #[serde(default, deserialize_with = "list::<_, _, MAX_ANNOTATIONS>")]
    pub annotations: Vec<Annotation>,
    /// The classes; without any there is nothing to learn.
    #[serde(default, deserialize_with = "list::<_, _, MAX_CATEGORIES>")]
    pub categories: Vec<Category>,
}

/// One of `images`.
#[derive(Deserialize)]
pub struct Image {
    /// Any number; not in order, not without gaps.
    pub id: i64,
    /// Maybe with folders.
    pub file_name: String,
    /// Columns, in pixels.
    #[serde(default)]
    pub width: Option<f32>,
    /// Rows, in pixels.
    #[serde(default)]
    pub height: Option<f32>,
}

/// One of `annotations`.
#[derive(Deserialize)]
pub struct Annotation {
    /// For messages.
    #[serde(default)]
    pub id: i64,
    /// Of `images`.
    pub image_id: i64,
    /// Of `categories`.
    pub category_id: i64,
    /// In pixels.
    #[serde(default)]
    pub bbox: Bbox,
    /// A region of many objects.
    #[serde(default)]
    pub iscrowd: Flag,
}

/// One of `categories`.
#[derive(Deserialize)]
pub struct Category {
    /// Any number.
    pub id: i64,
    /// What it is called.
    pub name: String,
}

/// `x, y, width, height`.
#[derive(Default, Clone, Copy)]
pub enum Bbox {
    /// None given.
    #[default]
    Absent,
    /// Something else.
    Wrong,
    /// Four numbers.
    Pixels([f32; 4]),
}

impl<'de> Deserialize<'de> for Bbox {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Bbox;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[x, y, width, height]")
            }

            fn visit_unit<E: Error>(self) -> Result<Bbox, E> {
                Ok(Bbox::Absent)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Bbox, A::Error> {
                let (mut values, mut count) = ([0.0; 4], 0);
                while count < 4
                    && let Some(value) = seq.next_element::<f32>()?
                {
                    values[count] = value;
                    count += 1;
                }
                let mut more = false;
                while count == 4 && seq.next_element::<IgnoredAny>()?.is_some() {
                    more = true;
                }
                Ok(match count {
                    0 => Bbox::Absent,
                    4 if !more => Bbox::Pixels(values),
                    _ => Bbox::Wrong,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Bbox, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Bbox::Wrong)
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Bbox, E> {
                Ok(Bbox::Wrong)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// `iscrowd`: 0 or 1, or as some tools write it, `false` or `true`.
#[derive(Default, Clone, Copy)]
pub struct Flag(pub bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("0 or 1")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Flag, E> {
                Ok(Flag(value))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Flag, E> {
                Ok(Flag(value != 0))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Flag, E> {
                Ok(Flag(value != 0.0))
            }

            fn visit_unit<E: Error>(self) -> Result<Flag, E> {
                Ok(Flag(false))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// A list of at most `MAX` entries.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct List<T, const MAX: usize>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut values = Vec::new();
            while let Some(value) = seq.next_element()? {
                if values.len() >= MAX {
                    return Err(A::Error::custom(format!("a list of more than {MAX} entries")));
                }
                values.push(value);
            }
            Ok(values)
        }
    }
    deserializer.deserialize_seq(List::<T, MAX>(PhantomData))
}
