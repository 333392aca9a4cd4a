use std::time::Instant;

use anyhow::Result;
use equicrypt_gateway::{CipherText, terminal_safe};
use equicrypt_shares::HostTraffic;

use crate::commands::shares_view::View;
use crate::terminal::{Ink, Terminal, wrap};

/// What the demo found.
pub(super) struct Report<'a> {
    pub(super) prompt: &'a str,
    pub(super) host_saw: &'a [u32],
    pub(super) host_saw_as_text: String,
    pub(super) host_returned: &'a [u32],
    pub(super) host_returned_as_text: String,
    pub(super) answer: String,
    pub(super) plain_answer: String,
    pub(super) identical: bool,
    pub(super) plain_rate: f64,
    pub(super) encrypted_rate: f64,
    pub(super) key_id: String,
}

/// What the demo of shares found.
pub(super) struct SharesReport<'a> {
    pub(super) prompt: &'a str,
    pub(super) answer: &'a str,
    pub(super) plain_answer: &'a str,
    /// Of A and of B, in the first layer.
    pub(super) views: Option<&'a [View; 2]>,
    pub(super) identical: bool,
    /// Of the engine alone, and with two hosts.
    pub(super) rates: [f64; 2],
    pub(super) bytes: [HostTraffic; 2],
    pub(super) tokens: u64,
}

/// The demo's output for people.
pub(super) struct Show {
    terminal: Terminal,
    quiet: bool,
}

impl Show {
    pub(super) fn new(terminal: Terminal, quiet: bool) -> Self {
        Self { terminal, quiet }
    }

    /// A step that is done.
    pub(super) fn step(&mut self, name: &str, what: &str, start: Instant) -> Result<()> {
        if self.quiet {
            return Ok(());
        }
        let seconds = format!("{:6.2} s", start.elapsed().as_secs_f64());
        let seconds = self.terminal.paint(Ink::Faint, &seconds);
        let name = self.terminal.paint(Ink::Heading, &format!("{name:8}"));
        self.terminal.line(&format!("{seconds}  {name} {what}"))
    }

    /// What is asked, and how what follows comes about.
    pub(super) fn question(&mut self, prompt: &str, answered: &str) -> Result<()> {
        if self.quiet {
            return Ok(());
        }
        let asked = self.terminal.paint(Ink::Heading, "You ask:");
        let answered = self.terminal.paint(Ink::Heading, answered);
        self.terminal
            .line(&format!("\n{asked} {}\n{answered}", terminal_safe(prompt)))
    }

    /// A piece of the answer.
    pub(super) fn piece(&mut self, text: &str) -> Result<()> {
        if self.quiet {
            Ok(())
        } else {
            self.terminal.text(&terminal_safe(text))
        }
    }

    pub(super) fn end_of_answer(&mut self) -> Result<()> {
        if self.quiet {
            Ok(())
        } else {
            self.terminal.line("\n")
        }
    }

    /// Owner and host side by side, and the comparison.
    pub(super) fn report(&mut self, report: &Report<'_>) -> Result<()> {
        self.columns(
            "OWNER: THIS MACHINE, WITH THE KEY",
            "HOST: ANOTHER PROCESS, WITHOUT IT",
            true,
        )?;
        self.row(
            ("prompt", report.prompt),
            ("ids that left this machine", &list(report.host_saw)),
        )?;
        self.row(
            ("", ""),
            (
                "as the public tokenizer reads them",
                &report.host_saw_as_text,
            ),
        )?;
        self.row(
            ("decrypted answer", &report.answer),
            ("ids that came back", &list(report.host_returned)),
        )?;
        self.row(
            ("plain model's answer", &report.plain_answer),
            (
                "as the public tokenizer reads them",
                &report.host_returned_as_text,
            ),
        )?;
        self.verdict("decrypted answer and plain answer", report.identical)?;
        self.terminal.line(&format!(
            "tokens per second: {:.1} plain, {:.1} encrypted, ratio {:.3}; key {}\n",
            report.plain_rate,
            report.encrypted_rate,
            report.encrypted_rate / report.plain_rate.max(f64::MIN_POSITIVE),
            report.key_id,
        ))?;
        Ok(())
    }

    /// Owner and both hosts side by side, and the comparison.
    pub(super) fn shares(&mut self, report: &SharesReport<'_>) -> Result<()> {
        self.columns(
            "OWNER: THIS PROCESS",
            "HOSTS: TWO OTHER PROCESSES, WHICH MUST NOT COLLUDE",
            true,
        )?;
        let nothing = String::new();
        let of = |host: usize, sent: bool| match report.views {
            Some(views) if sent => &views[host].sent.0,
            Some(views) => &views[host].received.0,
            None => &nothing,
        };
        self.row(
            ("prompt", report.prompt),
            ("host A was sent, first of all", of(0, true)),
        )?;
        self.row(("", ""), ("and answered", of(0, false)))?;
        self.row(
            ("answer", report.answer),
            ("host B was sent the masks' seed, and", of(1, true)),
        )?;
        self.row(
            ("the engine alone answers", report.plain_answer),
            ("and answered", of(1, false)),
        )?;
        self.verdict("answer with two hosts and plain answer", report.identical)?;
        let [alone, shares] = report.rates;
        self.terminal.line(&format!(
            "tokens per second: {alone:.1} alone, {shares:.1} with two hosts, all on this machine"
        ))?;
        let each = |bytes: u64| bytes as f64 / 1e3 / report.tokens.max(1) as f64;
        let [a, b] = report.bytes;
        self.terminal.line(&format!(
            "bytes a token: {:.0} kB to A, {:.0} kB from A, {:.1} kB to B, {:.0} kB from B",
            each(a.sent),
            each(a.received),
            each(b.sent),
            each(b.received)
        ))?;
        self.terminal.line(
            "\neach host alone: uniform numbers, whatever the text is; it sees which model, how many tokens, and when\n\
             both together: everything\n",
        )
    }

    fn verdict(&mut self, what: &str, identical: bool) -> Result<()> {
        let verdict = if identical {
            self.terminal.paint(Ink::Good, "identical, token for token")
        } else {
            self.terminal.paint(Ink::Bad, "DIFFERENT")
        };
        self.terminal.line(&format!("{what}: {verdict}"))
    }

    /// The sentences, what the host saw and gave, and how similar they are to each other.
    pub(super) fn embeddings(
        &mut self,
        sentences: &[&str],
        sent: &[CipherText],
        returned: &[Vec<f64>],
        numbers: impl Fn(&[f64]) -> String,
        similarities: &[[String; 3]],
    ) -> Result<()> {
        if self.quiet {
            return Ok(());
        }
        self.terminal.line("")?;
        let titles = [
            "OWNER: SENTENCES",
            "HOST: IDS THAT CAME, NUMBERS THAT IT GAVE",
        ];
        self.columns(titles[0], titles[1], true)?;
        for (index, sentence) in sentences.iter().enumerate() {
            let left = format!("{} {sentence}", index + 1);
            let right = format!("{}\n{}", list(sent[index].ids()), numbers(&returned[index]));
            let right: Vec<String> = right.lines().flat_map(cell).collect();
            let left = cell(&left);
            for line in 0..left.len().max(right.len()) {
                let at = |cell: &[String]| cell.get(line).cloned().unwrap_or_default();
                self.columns(&at(&left), &at(&right), false)?;
            }
        }
        self.terminal.line("")?;
        for [name, plain, decrypted] in similarities {
            self.terminal
                .line(&format!("{name:16}{plain:>12}{decrypted:>12}"))?;
        }
        Ok(())
    }

    /// A line that says that all is well.
    pub(super) fn good(&mut self, text: &str) -> Result<()> {
        if self.quiet {
            return Ok(());
        }
        let text = self.terminal.paint(Ink::Good, text);
        self.terminal.line(&format!("{text}\n"))
    }

    /// The title of a part.
    pub(super) fn heading(&mut self, text: &str) -> Result<()> {
        if self.quiet {
            return Ok(());
        }
        let text = self.terminal.paint(Ink::Heading, text);
        self.terminal.line(&text)
    }

    /// What it protects against, and what it does not.
    pub(super) fn threats(&mut self) -> Result<()> {
        if self.quiet {
            return Ok(());
        }
        for (ink, who, what) in THREATS {
            let who = self.terminal.paint(*ink, who);
            let lines = wrap(what, 2 * COLUMN - 2);
            self.terminal
                .line(&format!("{who}\n  {}", lines.join("\n  ")))?;
        }
        Ok(())
    }

    /// A labelled cell on each side, and a line between rows.
    fn row(&mut self, owner: (&str, &str), host: (&str, &str)) -> Result<()> {
        let (left, right) = (cell(owner.1), cell(host.1));
        self.columns(owner.0, host.0, true)?;
        for index in 0..left.len().max(right.len()) {
            let at = |cell: &[String]| cell.get(index).cloned().unwrap_or_default();
            self.columns(&at(&left), &at(&right), false)?;
        }
        self.columns("", "", false)
    }

    fn columns(&mut self, left: &str, right: &str, label: bool) -> Result<()> {
        let padding = " ".repeat(COLUMN.saturating_sub(left.chars().count()));
        let inks = if label {
            (Ink::Heading, Ink::Heading)
        } else {
            (Ink::Owner, Ink::Host)
        };
        let left = self.terminal.paint(inks.0, left);
        let right = self.terminal.paint(inks.1, right);
        self.terminal
            .line(format!("{left}{padding} | {right}").trim_end())
    }
}

fn list(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}

/// Text broken to a column's width, shortened if it is long.
fn cell(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = wrap(&terminal_safe(text), COLUMN)
        .into_iter()
        .flat_map(|line| {
            let characters: Vec<char> = line.chars().collect();
            let parts: Vec<String> = characters
                .chunks(COLUMN)
                .map(|part| part.iter().collect())
                .collect();
            if parts.is_empty() {
                vec![String::new()]
            } else {
                parts
            }
        })
        .collect();
    if lines.len() > MOST_LINES {
        lines.truncate(MOST_LINES - 1);
        lines.push("...".into());
    }
    lines
}

const COLUMN: usize = 54;
const MOST_LINES: usize = 14;

/// The threat table (docs/threat-model.md) in three lines.
const THREATS: &[(Ink, &str, &str)] = &[
    (
        Ink::Good,
        "whoever reads logs, caches or the network: slowed, not stopped",
        "they see a keyed code of tokens in place of text; who knows text from the same source read 28 % of tokens after 10,000 \
         of them and 88 % after 870,000 (docs/threat-model.md)",
    ),
    (
        Ink::Host,
        "a host that runs an encrypted private model: not measured yet",
        "weights and vocabulary are hidden from it, but no attack of an audit has been seen to fail yet, so nothing is \
         promised",
    ),
    (
        Ink::Bad,
        "a host that has the public original, as of this very model: NOT stopped",
        "it can align the two checkpoints and read everything; no static rewrite of a public model can prevent that. For that \
         host: equicrypt demo --shares",
    ),
];
