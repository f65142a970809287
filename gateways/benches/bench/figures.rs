//! The figures of a run, and how they are shown: a table, JSON, Markdown.

use std::path::Path;
use std::process::Command;

use comfy_table::{Attribute, Cell, CellAlignment, Table, presets};
use serde::Serialize;

use crate::ground::Ground;
use crate::parts::Scale;
use crate::plot;

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub group: &'static str,
    pub what: String,
    pub unit: &'static str,
    pub stock: Option<f64>,
    pub tapedeck: f64,
    /// Whether less is better.
    pub less_is_better: bool,
    /// What has to be shown, in words, and whether it was.
    pub target: Option<Target>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Target {
    pub words: String,
    pub met: bool,
}

impl Figure {
    pub fn new(
        group: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        value: f64,
    ) -> Self {
        Figure {
            group,
            what: what.into(),
            unit,
            stock: None,
            tapedeck: value,
            less_is_better: false,
            target: None,
        }
    }

    pub fn beside(mut self, stock: f64) -> Self {
        self.stock = Some(stock);
        self
    }

    pub fn less_is_better(mut self) -> Self {
        self.less_is_better = true;
        self
    }

    pub fn target(mut self, words: impl Into<String>, met: bool) -> Self {
        self.target = Some(Target { words: words.into(), met });
        self
    }

    /// How many times as good as stock.
    pub fn times(&self) -> Option<f64> {
        let stock = self.stock.filter(|stock| *stock > 0.0)?;
        Some(if self.less_is_better { stock / self.tapedeck } else { self.tapedeck / stock })
    }
}

#[derive(Serialize)]
pub struct Report {
    pub machine: Vec<(&'static str, String)>,
    pub quick: bool,
    pub figures: Vec<Figure>,
    pub notes: Vec<String>,
}

impl Report {
    pub async fn new(scale: &Scale, ground: &Ground) -> anyhow::Result<Self> {
        let postgres: String =
            sqlx::query_scalar("SHOW server_version").fetch_one(&ground.pool).await?;
        let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&ground.pool).await?;
        let nats = ground.broker().client(journal::broker::Role::Gateway).await?;
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let machine = vec![
            ("date", chrono::Utc::now().format("%Y-%m-%d").to_string()),
            ("commit", commit()),
            ("processor", format!("{} cores, {}", cores, processor())),
            ("PostgreSQL", format!("{postgres}, fsync {fsync}")),
            ("nats-server", format!("{}, sync_interval always", nats.server_info().version)),
            ("stock", "cqrs-es 0.5.0, postgres-es 0.5.0".to_owned()),
        ];
        Ok(Report { machine, quick: scale.quick, figures: Vec::new(), notes: Vec::new() })
    }

    /// Adds a figure, and says it at once to who is watching.
    pub fn add(&mut self, figure: Figure) {
        let stock = figure
            .stock
            .map_or(String::new(), |stock| format!(" (stock {} {})", number(stock), figure.unit));
        let tapedeck = number(figure.tapedeck);
        eprintln!("    {}: {tapedeck} {}{stock}", figure.what, figure.unit);
        self.figures.push(figure);
    }

    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The machine, the table, the bars and the notes, for a terminal.
    pub fn text(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(["", "stock", "Tapedeck", "", "times", "to show", ""]);
        for (n, figure) in self.figures.iter().enumerate() {
            if n == 0 || self.figures[n - 1].group != figure.group {
                table.add_row([Cell::new(figure.group).add_attribute(Attribute::Bold)]);
            }
            table.add_row(cells(figure).map(Cell::new));
        }
        for column in [1, 2, 4] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut text = String::from("\n");
        for (name, value) in &self.machine {
            text.push_str(&format!("  {name:<12} {value}\n"));
        }
        text.push_str(&format!("\n{table}\n\n{}\n", plot::bars(&self.figures)));
        for note in &self.notes {
            text.push_str(&format!("  - {note}\n"));
        }
        if self.quick {
            text.push_str(
                "  - This was a quick run: its counts are too small to prove anything.\n",
            );
        }
        text
    }

    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("bench.json"), serde_json::to_string_pretty(self)? + "\n")?;
        std::fs::write(folder.join("bench.svg"), plot::svg(&self.figures))?;
        std::fs::write(folder.join("bench.md"), self.markdown())?;
        Ok(())
    }

    fn markdown(&self) -> String {
        let mut text = String::from(
            "# Tapedeck beside stock cqrs-es and postgres-es\n\n`make bench` made this page, \
             [bench.json](bench.json) and this picture in one run.\n\n![Tapedeck and stock, side by \
             side](bench.svg)\n\n",
        );
        for (name, value) in &self.machine {
            text.push_str(&format!("- {name}: {value}\n"));
        }
        text.push_str(
            "\n| | stock | Tapedeck | | times | to show | |\n|---|--:|--:|---|--:|---|---|\n",
        );
        for (n, figure) in self.figures.iter().enumerate() {
            if n == 0 || self.figures[n - 1].group != figure.group {
                text.push_str(&format!("| **{}** | | | | | | |\n", figure.group));
            }
            text.push_str(&format!("| {} |\n", cells(figure).join(" | ")));
        }
        text.push_str("\n## How it was measured\n\n");
        for note in &self.notes {
            text.push_str(&format!("- {note}\n"));
        }
        text
    }
}

fn cells(figure: &Figure) -> [String; 7] {
    let target = figure.target.as_ref();
    [
        figure.what.clone(),
        figure.stock.map_or(String::new(), number),
        number(figure.tapedeck),
        figure.unit.to_owned(),
        figure.times().map_or(String::new(), |times| format!("{}×", number(times))),
        target.map_or(String::new(), |target| target.words.clone()),
        target.map_or("", |target| if target.met { "shown" } else { "NOT SHOWN" }).to_owned(),
    ]
}

/// Three digits are enough to compare by; thousands are set apart.
pub fn number(value: f64) -> String {
    if value.abs() < 10.0 {
        return format!("{value:.2}");
    }
    if value.abs() < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut grouped = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if value < 0.0 { format!("-{grouped}") } else { grouped }
}

fn commit() -> String {
    let asked = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"])
        .output();
    let said = asked.ok().filter(|output| output.status.success());
    said.map_or("unknown".to_owned(), |output| {
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split(':').nth(1)).unwrap_or("unknown").trim().to_owned()
}
