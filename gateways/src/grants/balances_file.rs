//! What another bot exports: a list with headings of its own, in which viewers have an id, a name or both, and points.

use std::collections::HashMap;

use super::lines::{Line, List, Wrong, read_points, rows};

/// Headings, in small letters, as bots are known to write them.
const ID: [&str; 8] =
    ["user_id", "userid", "id", "_id", "twitch_id", "twitch_user_id", "viewer_id", "channel_id"];
const NAME: [&str; 9] = [
    "username",
    "user_name",
    "user",
    "name",
    "viewer",
    "login",
    "display_name",
    "displayname",
    "nick",
];
const POINTS: [&str; 6] = ["points", "current_points", "balance", "currency", "amount", "coins"];

/// How the columns of a file are found.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// `name,points` and the like, for a file without headings; other words are columns to pass over.
    pub order: Option<Vec<String>>,
    /// The heading of the points, where the bot calls them something else.
    pub points: Option<String>,
}

/// A viewer as the other bot knew them.
#[derive(Clone, Debug, PartialEq)]
pub struct Balance {
    pub number: usize,
    pub id: Option<String>,
    /// In small letters, as logins are.
    pub name: Option<String>,
    pub points: i64,
}

/// Reads what is in the file. Who has no points is left out.
pub fn read(text: &str, columns: &Columns) -> Result<Vec<Balance>, Wrong> {
    let mut wrong = Wrong::default();
    let rows = rows(text, &mut wrong);
    let (headings, rows) = match &columns.order {
        Some(order) => (order.clone(), &rows[..]),
        None => match rows.split_first() {
            Some(((_, headings), rest)) => (headings.clone(), rest),
            None => (Vec::new(), &rows[..]),
        },
    };
    let place = Places::find(&headings, columns.points.as_deref());
    let Some(place) = place else {
        let words = format!(
            "its headings are {headings:?}, of which one has to be the points and one the user id or the name: name \
             them with --columns, or the points with --points-column"
        );
        wrong.add(1, words);
        return Err(wrong);
    };
    let mut balances = Vec::with_capacity(rows.len());
    for (number, fields) in rows {
        match place.read(*number, fields) {
            Ok(balance) if balance.points == 0 => {}
            Ok(balance) => balances.push(balance),
            Err(reason) => wrong.add(*number, reason),
        }
    }
    if wrong.total == 0 { Ok(balances) } else { Err(wrong) }
}

/// Reads a file of names and ids: `name,id`, with or without headings.
pub fn read_ids(text: &str) -> Result<HashMap<String, String>, Wrong> {
    let mut wrong = Wrong::default();
    let mut ids = HashMap::new();
    for (number, fields) in rows(text, &mut wrong) {
        let [name, id, ..] = fields.as_slice() else {
            wrong.add(number, "it has no name and id");
            continue;
        };
        if number == 1 && NAME.contains(&plain(name).as_str()) {
            continue;
        }
        let name = name.trim_start_matches('@').to_lowercase();
        match ids.insert(name.clone(), id.clone()) {
            Some(before) if before != *id => wrong.add(number, format!("{name} has two ids")),
            _ => {}
        }
    }
    if wrong.total == 0 { Ok(ids) } else { Err(wrong) }
}

/// The lines to carry out, with the ids that names have in `ids`, and how many viewers without an id were passed over.
/// Unless `skip_unknown` says to, none is.
pub fn resolve(
    balances: Vec<Balance>,
    ids: &HashMap<String, String>,
    skip_unknown: bool,
) -> Result<(Vec<Line>, usize), Wrong> {
    let mut list = List::default();
    let mut skipped = 0;
    for Balance { number, id, name, points } in balances {
        let found = id.or_else(|| name.as_ref().and_then(|name| ids.get(name)).cloned());
        match found {
            Some(id) => list.add(number, &id, points),
            None if skip_unknown => skipped += 1,
            None => {
                let name = name.unwrap_or_default();
                let words = format!(
                    "{name} has no user id, and points are kept by id: give --ids FILE with a line {name},<id>"
                );
                list.wrong.add(number, words);
            }
        }
    }
    list.end().map(|lines| (lines, skipped))
}

/// Which column is what.
struct Places {
    id: Option<usize>,
    name: Option<usize>,
    points: usize,
}

impl Places {
    fn find(headings: &[String], points: Option<&str>) -> Option<Self> {
        let headings: Vec<String> = headings.iter().map(|heading| plain(heading)).collect();
        let among =
            |known: &[&str]| headings.iter().position(|name| known.contains(&name.as_str()));
        let (id, name) = (among(&ID), among(&NAME));
        let points = match points {
            Some(points) => headings.iter().position(|name| *name == plain(points)),
            None => among(&POINTS),
        };
        (id.is_some() || name.is_some()).then_some(Places { id, name, points: points? })
    }

    fn read(&self, number: usize, fields: &[String]) -> Result<Balance, String> {
        let field = |place: Option<usize>| {
            place.and_then(|place| fields.get(place)).filter(|field| !field.is_empty())
        };
        let points = field(Some(self.points)).ok_or("it has no points")?;
        let points = read_points(points)?;
        if points < 0 {
            return Err(format!("{points} points are a debt, which nobody can have here"));
        }
        let id = field(self.id).cloned();
        let name = field(self.name).map(|name| name.trim_start_matches('@').to_lowercase());
        if id.is_none() && name.is_none() {
            return Err("it has neither a user id nor a name".to_owned());
        }
        Ok(Balance { number, id, name, points })
    }
}

fn plain(heading: &str) -> String {
    heading.trim().to_lowercase().replace([' ', '-'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> HashMap<String, String> {
        read_ids("name,id\nReelDeal,5001\n@betamaxine,5002\n").expect("names and ids")
    }

    #[test]
    fn a_list_of_names_gets_its_ids_from_a_file() {
        let file = "Username,Current Points,Alltime Points\nReelDeal,4210,9000\nbetamaxine,0,3\n";
        let balances = read(file, &Columns::default()).expect("readable");
        let (lines, skipped) = resolve(balances, &ids(), false).expect("known");
        assert_eq!((lines.len(), skipped), (1, 0), "who has no points is left out");
        assert_eq!((lines[0].viewer.as_str(), lines[0].points, lines[0].number), ("5001", 4210, 2));
    }

    #[test]
    fn an_id_in_the_file_is_stronger_than_a_name() {
        let file = "_id;username;Film Dollars\n5009;ReelDeal;12.0\n";
        let columns = Columns { points: Some("film dollars".to_owned()), order: None };
        let (lines, _) =
            resolve(read(file, &columns).expect("readable"), &ids(), false).expect("known");
        assert_eq!(lines[0].viewer, "5009");
        assert!(read(file, &Columns::default()).is_err(), "nobody knows what film dollars are");
    }

    #[test]
    fn a_file_without_headings_is_told_its_columns() {
        let order = ["name", "rank", "points"].map(str::to_owned).to_vec();
        let columns = Columns { order: Some(order), points: None };
        let balances = read("reeldeal,VIP,7\nrewinder,,9\n", &columns).expect("readable");
        let wrong = resolve(balances.clone(), &ids(), false).expect_err("one has no id");
        assert!(wrong.to_string().starts_with("line 2: rewinder has no user id"), "{wrong}");
        let (lines, skipped) = resolve(balances, &ids(), true).expect("passed over");
        assert_eq!((lines.len(), skipped), (1, 1));
    }

    #[test]
    fn debts_fractions_and_two_names_of_one_viewer_are_named() {
        let wrong =
            read("name,points\na,-5\nb,1.5\n,7\nc\n", &Columns::default()).expect_err("bad");
        assert_eq!(wrong.total, 4, "{wrong}");
        let balances = read("id,points\n5001,5\n5001,6\n", &Columns::default()).expect("readable");
        assert!(
            resolve(balances, &ids(), false).expect_err("twice").to_string().contains("line 3")
        );
        assert!(read_ids("a,1\na,2\n").is_err());
    }
}
