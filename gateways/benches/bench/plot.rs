//! The figures as bars: in the terminal, and as an SVG that reads on a light and on a dark page.

use crate::figures::{Figure, number};

const TERMINAL_WIDTH: usize = 48;

const STOCK_COLOUR: &str = "#9aa0a6";
const TAPEDECK_COLOUR: &str = "#7c4dff";

/// The figures that have a stock figure beside them, as bars.
pub fn bars(figures: &[Figure]) -> String {
    let mut text = String::new();
    for figure in figures {
        let Some(stock) = figure.stock else { continue };
        text.push_str(&format!("  {} ({})\n", figure.what, figure.unit));
        let longest = stock.max(figure.tapedeck);
        for (name, value) in [("stock", stock), ("Tapedeck", figure.tapedeck)] {
            let length = (value / longest * TERMINAL_WIDTH as f64).round() as usize;
            let bar = "█".repeat(length.max(1));
            text.push_str(&format!("  {name:>9} {bar} {}\n", number(value)));
        }
        let times = figure.times().map_or(String::new(), |times| format!("{}×", number(times)));
        text.push_str(&format!("  {:>9} {times}\n\n", ""));
    }
    text
}

/// One block for each figure that has a stock figure beside it; beneath, the others as one list.
pub fn svg(figures: &[Figure]) -> String {
    const WIDTH: f64 = 860.0;
    const LEFT: f64 = 20.0;
    const BAR_LEFT: f64 = 90.0;
    const BAR_WIDTH: f64 = 600.0;
    let mut body = String::new();
    let mut y = 34.0;
    let mut line = |y: f64, x: f64, class: &str, text: &str| {
        body.push_str(&format!(
            "<text x=\"{x}\" y=\"{y}\" class=\"{class}\">{}</text>\n",
            escaped(text)
        ));
    };
    line(y, LEFT, "head", "Tapedeck beside stock cqrs-es and postgres-es, in one run");
    y += 14.0;
    for figure in figures {
        let Some(stock) = figure.stock else { continue };
        y += 26.0;
        let better = if figure.less_is_better { ", less is better" } else { "" };
        let times = figure.times().map_or(String::new(), |times| format!(": {}×", number(times)));
        let title = format!("{} ({}{better}){times}", figure.what, figure.unit);
        body.push_str(&format!(
            "<text x=\"{LEFT}\" y=\"{y}\" class=\"title\">{}</text>\n",
            escaped(&title)
        ));
        y += 8.0;
        let longest = stock.max(figure.tapedeck);
        for (name, value, colour) in
            [("stock", stock, STOCK_COLOUR), ("Tapedeck", figure.tapedeck, TAPEDECK_COLOUR)]
        {
            let width = (value / longest * BAR_WIDTH).max(1.5);
            body.push_str(&format!(
                "<text x=\"{LEFT}\" y=\"{}\" class=\"name\">{name}</text>\n\
                 <rect x=\"{BAR_LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"14\" rx=\"2\" \
                 fill=\"{colour}\"/>\n<text x=\"{:.1}\" y=\"{}\" class=\"value\">{}</text>\n",
                y + 11.0,
                BAR_LEFT + width + 6.0,
                y + 11.0,
                number(value),
            ));
            y += 18.0;
        }
    }
    y += 12.0;
    for figure in figures.iter().filter(|figure| figure.stock.is_none()) {
        y += 20.0;
        let text = format!("{}: {} {}", figure.what, number(figure.tapedeck), figure.unit);
        body.push_str(&format!(
            "<text x=\"{LEFT}\" y=\"{y}\" class=\"name\">{}</text>\n",
            escaped(&text)
        ));
    }
    let height = y + 24.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<title>Tapedeck beside stock cqrs-es and \
         postgres-es</title>\n<style>text{{font:13px system-ui,sans-serif;fill:#1f2328}}\
         .head{{font-size:17px;font-weight:600}}.title{{font-weight:600}}.name{{fill:#57606a}}\
         </style>\n<rect width=\"{WIDTH}\" height=\"{height}\" rx=\"8\" fill=\"#ffffff\"/>\n\
         {body}</svg>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
