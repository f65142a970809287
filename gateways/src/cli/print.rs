//! What commands print: tables for people, JSON for programs.

use std::io::{self, Write};

use chrono::{DateTime, Utc};
use comfy_table::{CellAlignment, ContentArrangement, Table, TableComponent, presets};
use serde::Serialize;

/// Prints a value as one line of JSON.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_string(value)?;
    line.push('\n');
    write_all(&line)
}

/// Prints text, and fails quietly when nobody reads any more.
pub fn text(text: &str) -> anyhow::Result<()> {
    write_all(&format!("{text}\n"))
}

fn write_all(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// A table with a plain head; `right` names the columns of numbers.
pub fn table(head: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_style(TableComponent::HeaderLines, '─')
        .set_style(TableComponent::MiddleHeaderIntersections, '─')
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(head.to_vec());
    for column in right {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Prints a table. Where a cell holds text that is written from right to left, a mark between the
/// columns keeps those beside it in their places, also where the text is broken into several lines.
pub fn rows(table: Table) -> anyhow::Result<()> {
    text(&in_columns(table))
}

fn in_columns(mut table: Table) -> String {
    let rows = table.to_string();
    if !rows.contains(is_right_to_left) {
        return rows;
    }
    table.set_style(TableComponent::VerticalLines, '\u{200e}');
    table.to_string()
}

/// Hebrew, Arabic, and the other scripts that Unicode keeps beside them.
fn is_right_to_left(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}'
        | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

/// Cuts a line to the width of the terminal; what goes into a file or a program stays whole.
pub fn fitted(line: String) -> String {
    match Table::new().width() {
        Some(width) => shortened(line, usize::from(width)),
        None => line,
    }
}

fn shortened(line: String, characters_max: usize) -> String {
    if line.chars().count() <= characters_max {
        return line;
    }
    line.chars().take(characters_max.saturating_sub(1)).chain(['…']).collect()
}

/// `4,210`.
pub fn points(points: i64) -> String {
    let digits = points.unsigned_abs().to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if points < 0 {
        grouped.push('-');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `+150`, `-1,200`, and nothing for zero.
pub fn change(change: i64) -> String {
    match change {
        0 => String::new(),
        1.. => format!("+{}", points(change)),
        _ => points(change),
    }
}

/// `2026-11-21 20:15:00` in UTC.
pub fn time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Text from outside, made harmless for a terminal: control characters would let a viewer's message
/// move the cursor.
pub fn harmless(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if hidden(c) { '\u{fffd}' } else { c }).collect()
}

/// [`harmless`], line by line.
pub fn harmless_lines(text: &str) -> String {
    text.lines().map(harmless).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (4_210, "4,210"), (-1_234_567, "-1,234,567")]
        {
            assert_eq!(points(number), text);
        }
        assert_eq!(points(i64::MIN), "-9,223,372,036,854,775,808");
        assert_eq!(
            (change(150).as_str(), change(-5).as_str(), change(0).as_str()),
            ("+150", "-5", "")
        );
    }

    #[test]
    fn a_long_line_ends_with_the_terminal() {
        assert_eq!(shortened("abcdef".to_owned(), 4), "abc…");
        assert_eq!(shortened("äöü".to_owned(), 3), "äöü");
    }

    #[test]
    fn text_from_right_to_left_leaves_the_columns_in_place() {
        let row = |why: &str| {
            let mut table = table(&["what", "why", "leaves"], &[2]);
            table.add_row(["credited", why, "150"]);
            in_columns(table)
        };
        let marked = row("שלום 42");
        let cells: Vec<&str> =
            marked.lines().last().expect("a row").split('\u{200e}').map(str::trim).collect();
        assert_eq!(cells, ["credited", "שלום 42", "150"]);
        assert!(!row("hello 42").contains('\u{200e}'), "not where nothing needs it");
    }

    #[test]
    fn a_message_cannot_move_the_cursor() {
        assert_eq!(harmless("a\u{1b}[2Jb\u{202e}\n"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}");
    }
}
