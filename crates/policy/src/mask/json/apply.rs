//! Masks put into a document: what no path leads to is copied as it is.

use super::layout::{Item, Kind, Reader, Writer, empty};
use super::{Mask, Replaced, Rule, Step, number};
use crate::mask::hash::KeyedHash;

/// How deep paths are followed; what lies deeper under a path that goes on is null.
const DEEPEST: u32 = 200;

/// A path that has been followed to here: which rule, and its next step.
type Place = (usize, usize);

pub struct Masker<'a> {
    rules: &'a [Rule],
    key: Option<&'a KeyedHash>,
    /// Texts are in UTF-8: of another encoding's only ASCII is taken apart.
    utf8: bool,
}

/// What the paths say of a value.
enum Verdict<'a> {
    Keep,
    Mask(&'a Mask),
    /// Two masks that differ.
    Hide,
    Follow(Vec<Place>),
}

impl<'a> Masker<'a> {
    #[must_use]
    pub const fn new(rules: &'a [Rule], key: Option<&'a KeyedHash>, utf8: bool) -> Self {
        Self { rules, key, utf8 }
    }

    /// The document (a jsonb without its header) with its masks; `None` for what is no document, or
    /// would be too long.
    #[must_use]
    pub fn document(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(bytes.len() + 16);
        let root = Reader::new(bytes)?;
        let mut places = Vec::new();
        for rule in 0..self.rules.len() {
            self.enter((rule, 0), &mut places);
        }
        if root.kind == Kind::Scalar {
            let item = root.items()?.into_iter().next()?;
            let mut writer = Writer::begin(&mut out, Kind::Scalar, 1)?;
            self.write(&mut writer, &mut out, item, b"", places, 0)?;
            return Some(out);
        }
        if root.kind == Kind::Object {
            places = self.unwrapped(places);
        }
        // The root has no container of its own around it.
        match self.judge(places) {
            Verdict::Keep => out.extend_from_slice(bytes),
            Verdict::Follow(places) => self.container(&mut out, bytes, b"", &places, 0)?,
            Verdict::Hide => scalar(&mut out, Item::Null)?,
            Verdict::Mask(mask) => match self.replace(mask, Item::Container(bytes), b"", 0)? {
                Done::Item(Replaced::EmptyObject) => out.extend_from_slice(&empty(Kind::Object)),
                Done::Item(Replaced::EmptyArray) => out.extend_from_slice(&empty(Kind::Array)),
                Done::Item(Replaced::Same) => out.extend_from_slice(bytes),
                Done::Item(other) => scalar(&mut out, item_of(&other, Item::Null))?,
                Done::Container(container) => out.extend_from_slice(&container),
            },
        }
        Some(out)
    }

    /// Adds a place, and what `.**` makes of it without going any deeper.
    fn enter(&self, place: Place, into: &mut Vec<Place>) {
        if into.contains(&place) {
            return;
        }
        into.push(place);
        if self.step(place) == Some(&Step::Deep) {
            self.enter((place.0, place.1 + 1), into);
        }
    }

    fn step(&self, (rule, step): Place) -> Option<&'a Step> {
        self.rules.get(rule)?.path.get(step)
    }

    fn judge(&self, places: Vec<Place>) -> Verdict<'a> {
        let mut ended = places
            .iter()
            .filter(|place| self.step(**place).is_none())
            .filter_map(|(rule, _)| self.rules.get(*rule))
            .map(|rule| &rule.mask);
        match ended.next() {
            Some(first) if ended.all(|other| other == first) => Verdict::Mask(first),
            Some(_) => Verdict::Hide,
            None if places.is_empty() => Verdict::Keep,
            None => Verdict::Follow(places),
        }
    }

    /// Where the places lead: to the value of a key, or to an element.
    fn follow(&self, places: &[Place], to: &Member<'_>) -> Vec<Place> {
        let mut next = Vec::new();
        for &place in places {
            let Some(step) = self.step(place) else {
                continue;
            };
            let on = (place.0, place.1 + 1);
            match (step, to) {
                (Step::Deep, _) => self.enter(place, &mut next),
                (Step::Key(name), Member::Key(key)) if name == key => self.enter(on, &mut next),
                (Step::AnyKey, Member::Key(_)) | (Step::AnyElement, Member::Element(_)) => {
                    self.enter(on, &mut next);
                }
                (Step::Index(i), Member::Element(at)) if i == at => self.enter(on, &mut next),
                // A key of an array is that key of each element.
                (Step::Key(_) | Step::AnyKey, Member::Element(_)) => self.enter(place, &mut next),
                _ => {}
            }
        }
        next
    }

    /// Places behind the steps that take a value for an array of itself.
    fn unwrapped(&self, places: Vec<Place>) -> Vec<Place> {
        let unwraps =
            |place: &Place| matches!(self.step(*place), Some(Step::AnyElement | Step::Index(0)));
        if !places.iter().any(unwraps) {
            // Each has been entered.
            return places;
        }
        let mut all = Vec::with_capacity(places.len());
        for place in places {
            let mut at = place;
            self.enter(at, &mut all);
            while matches!(self.step(at), Some(Step::AnyElement | Step::Index(0))) {
                at = (at.0, at.1 + 1);
                self.enter(at, &mut all);
            }
        }
        all
    }

    fn container(
        &self,
        out: &mut Vec<u8>,
        bytes: &[u8],
        context: &[u8],
        places: &[Place],
        depth: u32,
    ) -> Option<()> {
        let reader = Reader::new(bytes)?;
        let items = reader.items()?;
        let mut writer = Writer::begin(out, reader.kind, reader.count)?;
        if reader.kind == Kind::Object {
            let (keys, values) = items.split_at_checked(reader.count)?;
            for key in keys {
                writer.item(out, *key)?;
            }
            for (key, value) in keys.iter().zip(values) {
                let Item::String(key) = key else { return None };
                let next = self.follow(places, &Member::Key(key));
                self.write(&mut writer, out, *value, key, next, depth + 1)?;
            }
        } else {
            for (i, item) in items.iter().enumerate() {
                let next = self.follow(places, &Member::Element(i));
                self.write(&mut writer, out, *item, context, next, depth + 1)?;
            }
        }
        Some(())
    }

    fn write(
        &self,
        writer: &mut Writer,
        out: &mut Vec<u8>,
        item: Item<'_>,
        context: &[u8],
        places: Vec<Place>,
        depth: u32,
    ) -> Option<()> {
        if places.is_empty() {
            return writer.item(out, item);
        }
        let is_array = matches!(item, Item::Container(c) if Reader::new(c)?.kind != Kind::Object);
        let places = if is_array {
            places
        } else {
            self.unwrapped(places)
        };
        match (self.judge(places), item) {
            (Verdict::Keep, item) => writer.item(out, item),
            (Verdict::Hide, _) => writer.item(out, Item::Null),
            (Verdict::Follow(_), _) if depth > DEEPEST => writer.item(out, Item::Null),
            (Verdict::Follow(places), Item::Container(bytes)) => writer.container(out, |out| {
                self.container(out, bytes, context, &places, depth)
            }),
            (Verdict::Follow(_), item) => writer.item(out, item),
            (Verdict::Mask(mask), item) => match self.replace(mask, item, context, depth)? {
                Done::Item(replaced) => {
                    let (object, array) = (empty(Kind::Object), empty(Kind::Array));
                    let new = match &replaced {
                        Replaced::EmptyObject => Item::Container(&object),
                        Replaced::EmptyArray => Item::Container(&array),
                        other => item_of(other, item),
                    };
                    writer.item(out, new)
                }
                Done::Container(container) => writer.item(out, Item::Container(&container)),
            },
        }
    }

    fn replace(&self, mask: &Mask, item: Item<'_>, context: &[u8], depth: u32) -> Option<Done> {
        let done = match (mask, item) {
            (Mask::Null, _) => Replaced::Null,
            (Mask::Constant(constant), _) => constant.replaced(),
            // What is absent says nothing.
            (_, Item::Null) => Replaced::Same,
            (Mask::Partial { .. } | Mask::Email, Item::String(text))
                if !self.utf8 && !text.is_ascii() =>
            {
                Replaced::Text(b"***".to_vec())
            }
            (_, Item::String(text)) => mask.text(text, context, self.key),
            (Mask::Redact, Item::Number(_)) => Replaced::Number(number::of_integer(0)),
            (Mask::Redact, Item::Bool(_)) => Replaced::Bool(false),
            (Mask::Hash { .. }, Item::Bool(b)) => {
                mask.text(if b { b"true" } else { b"false" }, context, self.key)
            }
            (Mask::Scrub, Item::Bool(_)) => Replaced::Same,
            (_, Item::Bool(_)) => Replaced::Bool(false),
            (_, Item::Number(number)) => match number::text(number) {
                Some(text) => mask.text(text.as_bytes(), context, self.key),
                None => Replaced::Null,
            },
            (Mask::Redact, Item::Container(bytes)) => match Reader::new(bytes)?.kind {
                Kind::Object => Replaced::EmptyObject,
                Kind::Array | Kind::Scalar => Replaced::EmptyArray,
            },
            (_, Item::Container(_)) if depth > DEEPEST => Replaced::Null,
            (_, Item::Container(bytes)) => return self.inside(mask, bytes, context, depth),
        };
        Some(Done::Item(done))
    }

    /// A mask of texts over a container: each value in it. Keys would show, and are data where
    /// nobody named them: such an object is emptied, unless the mask finds nothing in them.
    fn inside(&self, mask: &Mask, bytes: &[u8], context: &[u8], depth: u32) -> Option<Done> {
        let reader = Reader::new(bytes)?;
        let items = reader.items()?;
        let (keys, values) = match reader.kind {
            Kind::Object => items.split_at_checked(reader.count)?,
            _ => items.split_at_checked(0)?,
        };
        let keys_show = keys.iter().any(|key| match key {
            Item::String(key) => {
                *mask != Mask::Scrub || mask.text(key, b"", None) != Replaced::Same
            }
            _ => true,
        });
        if keys_show {
            return Some(Done::Item(Replaced::EmptyObject));
        }
        let mut out = Vec::with_capacity(bytes.len());
        let mut writer = Writer::begin(&mut out, reader.kind, reader.count)?;
        for key in keys {
            writer.item(&mut out, *key)?;
        }
        for (i, value) in values.iter().enumerate() {
            let context = match keys.get(i) {
                Some(Item::String(key)) => key,
                _ => context,
            };
            let new = match self.replace(mask, *value, context, depth + 1)? {
                Done::Item(Replaced::EmptyObject) => Done::Container(empty(Kind::Object).to_vec()),
                Done::Item(Replaced::EmptyArray) => Done::Container(empty(Kind::Array).to_vec()),
                other => other,
            };
            match new {
                Done::Item(replaced) => writer.item(&mut out, item_of(&replaced, *value))?,
                Done::Container(container) => writer.item(&mut out, Item::Container(&container))?,
            }
        }
        Some(Done::Container(out))
    }
}

enum Member<'a> {
    Key(&'a [u8]),
    Element(usize),
}

enum Done {
    Item(Replaced),
    Container(Vec<u8>),
}

fn item_of<'a>(replaced: &'a Replaced, same: Item<'a>) -> Item<'a> {
    match replaced {
        Replaced::Same => same,
        Replaced::Bool(b) => Item::Bool(*b),
        Replaced::Text(text) => Item::String(text),
        Replaced::Number(number) => Item::Number(number),
        Replaced::Null | Replaced::EmptyObject | Replaced::EmptyArray => Item::Null,
    }
}

/// A document of one value.
fn scalar(out: &mut Vec<u8>, item: Item<'_>) -> Option<()> {
    Writer::begin(out, Kind::Scalar, 1)?.item(out, item)
}
