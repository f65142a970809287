//! A list of tapes, as CSV with headings or as JSON.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;

use domain::tape::Card;
use serde_json::Value;

use crate::grants::{Wrong, rows};

/// The most tapes of a list.
pub const TAPES_MAX: usize = 20_000;

/// A tape as it stands in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its line, from 1; of JSON, the number of the object.
    pub line: usize,
    pub id: String,
    /// Without its thumbnail, which is only named so far.
    pub card: Card,
    /// The file of its picture.
    pub thumbnail: Option<String>,
}

/// Reads a list: JSON where it begins as JSON does, CSV elsewhere.
pub fn read(text: &str) -> Result<Vec<Entry>, Wrong> {
    let mut wrong = Wrong::default();
    let tapes = match text.trim_start_matches('\u{feff}').trim_start().chars().next() {
        Some('[' | '{') => objects(text, &mut wrong),
        _ => lines(text, &mut wrong),
    };
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut entries = Vec::with_capacity(tapes.len());
    for (line, fields) in tapes {
        match entry(line, &fields) {
            Err(reason) => wrong.add(line, reason),
            Ok(entry) => match seen.entry(entry.id.clone()) {
                Place::Occupied(first) => {
                    let reason =
                        format!("tape {} stands on line {} already", entry.id, first.get());
                    wrong.add(line, reason);
                }
                Place::Vacant(place) => {
                    place.insert(line);
                    entries.push(entry);
                }
            },
        }
    }
    if entries.len() > TAPES_MAX {
        wrong.add(1, format!("it has {} tapes, and {TAPES_MAX} is the most", entries.len()));
    }
    if entries.is_empty() && wrong.total == 0 {
        wrong.add(1, "there is no tape in it");
    }
    if wrong.total == 0 { Ok(entries) } else { Err(wrong) }
}

/// What one tape has, by the name of the field. Empty ones are left out.
type Fields = HashMap<&'static str, Field>;

#[derive(Clone, Debug, PartialEq)]
enum Field {
    Text(String),
    List(Vec<String>),
}

/// The fields there are, each with the names it goes by.
const FIELDS: [(&str, &[&str]); 11] = [
    ("id", &["id", "tape_id", "tape", "number"]),
    ("title", &["title", "name"]),
    ("year", &["year"]),
    ("runtime_s", &["runtime_s", "runtime_seconds"]),
    ("runtime_min", &["runtime_min", "runtime_minutes", "runtime", "minutes"]),
    ("tags", &["tags"]),
    ("colour", &["colour", "color"]),
    ("series", &["series"]),
    ("contributor", &["contributor"]),
    ("thumbnail", &["thumbnail", "picture"]),
    // What Golden VCR's catalogue has besides: read, and passed over.
    ("passed_over", &["num_favorites", "numfavorites", "images"]),
];

fn field_of(heading: &str) -> Option<&'static str> {
    let plain = heading.trim().to_lowercase().replace([' ', '-'], "_");
    FIELDS.iter().find(|(_, names)| names.contains(&plain.as_str())).map(|(field, _)| *field)
}

fn lines(text: &str, wrong: &mut Wrong) -> Vec<(usize, Fields)> {
    let rows = rows(text, wrong);
    let Some(((first, headings), rows)) = rows.split_first() else { return Vec::new() };
    let fields: Vec<Option<&str>> = headings.iter().map(|heading| field_of(heading)).collect();
    for (heading, field) in headings.iter().zip(&fields) {
        if field.is_none() {
            wrong.add(*first, format!("nobody knows what the column {heading:?} is"));
        }
    }
    if !fields.contains(&Some("id")) || !fields.contains(&Some("title")) {
        wrong.add(*first, "its headings name no id and title");
        return Vec::new();
    }
    let mut tapes = Vec::with_capacity(rows.len());
    for (line, cells) in rows {
        if cells.len() > fields.len() {
            wrong.add(*line, format!("it has {} cells for {} headings", cells.len(), fields.len()));
            continue;
        }
        let filled = fields.iter().zip(cells).filter(|(_, cell)| !cell.is_empty());
        let filled =
            filled.filter_map(|(field, cell)| Some(((*field)?, Field::Text(cell.clone()))));
        tapes.push((*line, filled.collect()));
    }
    tapes
}

fn objects(text: &str, wrong: &mut Wrong) -> Vec<(usize, Fields)> {
    let value: Value = match serde_json::from_str(text.trim_start_matches('\u{feff}')) {
        Ok(value) => value,
        Err(error) => {
            wrong.add(error.line(), format!("this is no JSON: {error}"));
            return Vec::new();
        }
    };
    // As Golden VCR answers its catalogue: the list is in an object.
    let listed = value.get("items").or_else(|| value.get("tapes")).unwrap_or(&value);
    let Some(listed) = listed.as_array() else {
        wrong.add(1, "it is no list of tapes, and has none under `items` or `tapes`");
        return Vec::new();
    };
    let mut tapes = Vec::with_capacity(listed.len());
    for (line, object) in (1..).zip(listed) {
        match fields_of(object) {
            Ok(fields) => tapes.push((line, fields)),
            Err(reason) => wrong.add(line, reason),
        }
    }
    tapes
}

fn fields_of(object: &Value) -> Result<Fields, String> {
    let object = object.as_object().ok_or("it is no object")?;
    let mut fields = Fields::new();
    for (name, value) in object {
        let field = field_of(name).ok_or_else(|| format!("nobody knows what {name:?} is"))?;
        let read = match value {
            Value::Null => continue,
            _ if field == "passed_over" => continue,
            Value::String(text) if text.trim().is_empty() => continue,
            Value::String(text) => Field::Text(text.trim().to_owned()),
            Value::Number(number) => Field::Text(number.to_string()),
            Value::Array(list) => {
                let words = list.iter().map(|word| word.as_str().map(str::to_owned));
                let words: Option<Vec<String>> = words.collect();
                Field::List(words.ok_or_else(|| format!("{name} is a list of words"))?)
            }
            _ => return Err(format!("{name} is no text and no number")),
        };
        fields.insert(field, read);
    }
    Ok(fields)
}

fn entry(line: usize, fields: &Fields) -> Result<Entry, String> {
    let text = |field: &str| match fields.get(field) {
        None => Ok(None),
        Some(Field::Text(text)) => Ok(Some(text.clone())),
        Some(Field::List(_)) => Err(format!("{field} is one, and no list")),
    };
    let id = text("id")?.ok_or("it has no id")?;
    journal::command::check_id(&id).map_err(|error| error.to_string())?;
    let year = text("year")?.map(|year| {
        year.parse().map_err(|_| format!("the year is a number such as 1987, and {year:?} is not"))
    });
    let card = Card {
        title: text("title")?.ok_or("it has no title")?,
        year: year.transpose()?,
        runtime_s: runtime(text("runtime_s")?, text("runtime_min")?)?,
        tags: tags(fields.get("tags")),
        colour: text("colour")?.map(|colour| colour.to_lowercase()),
        series: text("series")?,
        contributor: text("contributor")?,
        thumbnail: None,
    };
    match card.refusal() {
        Some(reason) => Err(reason),
        None => Ok(Entry { line, id, card, thumbnail: text("thumbnail")? }),
    }
}

/// Seconds, or minutes: `59`, `59:30`, `1:02:30`.
fn runtime(seconds: Option<String>, minutes: Option<String>) -> Result<Option<i64>, String> {
    let bad = |text: &str| {
        format!("{text:?} is no time: seconds in runtime_s, or minutes, m:ss or h:mm:ss")
    };
    let number = |text: &str, whole: &str| {
        let digits =
            !text.is_empty() && text.len() <= 6 && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<i64>().ok()).flatten().ok_or_else(|| bad(whole))
    };
    match (seconds, minutes) {
        (Some(_), Some(_)) => Err("it names its runtime twice".to_owned()),
        (Some(text), None) => number(&text, &text).map(Some),
        (None, Some(text)) => {
            let parts: Vec<&str> = text.split(':').collect();
            let read: Vec<i64> =
                parts.iter().map(|part| number(part, &text)).collect::<Result<_, _>>()?;
            match read.as_slice() {
                [minutes] => Ok(Some(minutes * 60)),
                [minutes, seconds @ 0..60] => Ok(Some(minutes * 60 + seconds)),
                [hours, minutes @ 0..60, seconds @ 0..60] => {
                    Ok(Some(hours * 3_600 + minutes * 60 + seconds))
                }
                _ => Err(bad(&text)),
            }
        }
        (None, None) => Ok(None),
    }
}

/// Words between bars, or semicolons, or commas.
fn tags(field: Option<&Field>) -> Vec<String> {
    let words: Vec<String> = match field {
        None => Vec::new(),
        Some(Field::List(words)) => words.clone(),
        Some(Field::Text(text)) => {
            let separator = ['|', ';', ','].into_iter().find(|separator| text.contains(*separator));
            text.split(separator.unwrap_or('|')).map(str::to_owned).collect()
        }
    };
    let mut tags: Vec<String> = Vec::with_capacity(words.len());
    for word in words.iter().map(|word| word.trim()).filter(|word| !word.is_empty()) {
        if !tags.iter().any(|tag| tag == word) {
            tags.push(word.to_owned());
        }
    }
    tags
}
