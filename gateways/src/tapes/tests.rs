//! Lists of tapes as people have them, and what is wrong with them.

use std::path::{Path, PathBuf};

use domain::tape::Card;
use uuid::Uuid;

use super::import::{Becomes, Understood};
use super::{list, thumbnails};

const PIXEL: &[u8] = include_bytes!("../../tests/data/pixel.png");

const CSV: &str = "ID,Title,Year,Runtime,Tags,Color,Thumbnail\n\
    88,\"Aerobics, at Sunrise\",1987,59:00,fitness|neon,#F0A51C,88.png\n\
    9,Bowling for Beginners,,1:02:30,,,\n";

const JSON: &str = r##"{"imageHost": null, "items": [
    {"id": 88, "title": "Aerobics, at Sunrise", "year": 1987, "runtime_s": 3540,
     "tags": ["fitness", "neon"], "color": "#f0a51c", "thumbnail": "88.png", "images": ["a"]},
    {"id": "9", "title": "Bowling for Beginners", "year": null, "runtime": "1:02:30"}
]}"##;

struct Folder(PathBuf);

impl Folder {
    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// With a picture, and something that is none.
fn folder() -> Folder {
    let folder = std::env::temp_dir().join(format!("tapedeck-{}", Uuid::new_v4().simple()));
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("88.png"), PIXEL).expect("written");
    std::fs::write(folder.join("text.png"), "no picture").expect("written");
    Folder(folder)
}

fn understood(text: &str) -> Understood {
    let entries = list::read(text).expect("a list");
    Understood::new(entries, folder().path(), false).expect("its pictures")
}

#[test]
fn the_same_tapes_are_read_from_csv_and_json() {
    let [csv, json] = [CSV, JSON].map(|text| list::read(text).expect("a list"));
    let without_lines = |entries: Vec<list::Entry>| {
        entries.into_iter().map(|entry| list::Entry { line: 0, ..entry }).collect::<Vec<_>>()
    };
    assert_eq!(csv.iter().map(|entry| entry.line).collect::<Vec<_>>(), [2, 3]);
    let aerobics = Card {
        title: "Aerobics, at Sunrise".to_owned(),
        year: Some(1987),
        runtime_s: Some(3_540),
        tags: vec!["fitness".to_owned(), "neon".to_owned()],
        colour: Some("#f0a51c".to_owned()),
        ..Card::default()
    };
    assert_eq!((&csv[0].card, csv[0].thumbnail.as_deref()), (&aerobics, Some("88.png")));
    assert_eq!((csv[1].card.runtime_s, csv[1].card.year), (Some(3_750), None));
    assert_eq!(without_lines(csv), without_lines(json));
}

#[test]
fn every_bad_line_is_named_with_its_reason() {
    let list = "id,title,year,runtime,colour\n\
        88,Aerobics\n\
        88,Again\n\
        a.b,No id\n\
        ,No id\n\
        7,\n\
        6,Six,eighty\n\
        5,Five,1899\n\
        4,Four,,59:61\n\
        3,Three,,,red\n\
        2,Two,1987,59,#112233,more\n\
        1,\"One\n";
    let wrong = list::read(list).expect_err("bad lines");
    let words = wrong.to_string();
    for part in [
        "line 3: tape 88 stands on line 2 already",
        "line 4: an id is",
        "line 5: it has no id",
        "line 6: it has no title",
        "line 7: the year is a number such as 1987, and \"eighty\" is not",
        "line 8: the year is 1900 to 2199, and 1899 is not",
        "line 9: \"59:61\" is no time",
        "line 10: a colour is #rrggbb, and \"red\" is not",
        "line 11: it has 6 cells for 5 headings",
        "line 12: a quotation mark is not closed",
    ] {
        assert!(words.contains(part), "{part} is not in\n{words}");
    }
    for (text, part) in [
        ("", "there is no tape in it"),
        ("[]", "there is no tape in it"),
        ("[1]", "line 1: it is no object"),
        ("{\"tapes\": 1}", "it is no list of tapes"),
        ("[{\"id\": 1,", "this is no JSON"),
        (r#"[{"id": 1, "title": "x", "length": 5}]"#, "nobody knows what \"length\" is"),
        (r#"[{"id": 1, "title": {}}]"#, "title is no text and no number"),
        ("id,title,length\n1,x,5\n", "nobody knows what the column \"length\" is"),
        ("title\nx\n", "its headings name no id and title"),
    ] {
        let words = list::read(text).expect_err(text).to_string();
        assert!(words.contains(part), "{part} is not in\n{words}");
    }
}

#[test]
fn a_thumbnail_is_a_picture_in_a_file_and_not_too_large() {
    let folder = folder();
    let large = [PIXEL, &vec![0; thumbnails::BYTES_MAX]].concat();
    std::fs::write(folder.path().join("large.png"), large).expect("written");
    let look = |file| thumbnails::look_at(folder.path(), file);
    assert_eq!(look("88.png").expect("a picture").name, crate::pictures::name_of(PIXEL));
    for (file, part) in [
        ("text.png", "neither PNG nor JPEG nor WebP"),
        ("gone.png", "No such file"),
        ("large.png", "is larger than"),
        (".", "is no file"),
        ("https://img.example/88.png", "is an address"),
    ] {
        let words = look(file).expect_err(file);
        assert!(words.contains(part), "{part} is not in {words}");
    }
    let entries = list::read("id,title,thumbnail\n1,x,text.png\n2,y,gone.png\n").expect("a list");
    let wrong = Understood::new(entries.clone(), folder.path(), false).err().expect("bad pictures");
    assert_eq!(wrong.total, 2, "{wrong}");
    assert!(Understood::new(entries, folder.path(), true).is_ok(), "left out");
}

#[test]
fn a_list_again_changes_nothing_and_another_says_what_it_changes() {
    let understood = understood(CSV);
    let first = understood.changes(Vec::new(), false, false);
    assert!(first.iter().all(|change| change.becomes == Becomes::New));
    let known: Vec<(String, Card)> =
        first.iter().map(|change| (change.id.clone(), change.card.clone())).collect();
    let again = understood.changes(known.clone(), true, false);
    assert!(again.iter().all(|change| change.becomes == Becomes::Same));

    let other = list::read("id,title,year\n88,Aerobics at Sunset,1987\n").expect("a list");
    let other = Understood::new(other, folder().path(), false).expect("no pictures");
    let changes = other.changes(known.clone(), true, true);
    let said: Vec<_> = changes.iter().map(|change| (change.id.as_str(), change.becomes)).collect();
    assert_eq!(said, [("88", Becomes::Changed), ("9", Becomes::Withdrawn)]);
    assert_eq!(changes[0].fields, ["title", "runtime", "tags", "colour"]);
    assert!(changes[0].card.thumbnail.is_some(), "its picture stays");
    assert_eq!(other.changes(known, false, false).len(), 1, "nothing is withdrawn by itself");
}
