//! The rules of the tokeniser, as regular expressions.
//!
//! Written from how the Stanford tokeniser 3.4.1 behaves: one rule per kind of token. All rules are
//! tried at once and the longest match is the token; where two match equally long, the first wins.
//! What a rule must be followed by counts as length, but is read again. `{name}` in a pattern
//! stands for the definition of that name.

use super::definitions::DEFINITIONS;

/// One kind of token.
pub(super) struct Rule {
    pub pattern: &'static str,
    /// How much of a match is the token.
    pub keep: Keep,
    /// What is written for it.
    pub text: Text,
}

/// How much of a match is the token; the rest is read again.
#[derive(Clone, Copy)]
pub(super) enum Keep {
    All,
    /// The first bytes.
    First(usize),
    /// All but the last characters.
    But(usize),
    /// What is before the first blank.
    ToBlank,
    /// What is before the last full stop, and that.
    ToStop,
    /// What is before the last `n`.
    ToN,
    /// What is before the last apostrophe.
    ToApostrophe,
}

/// What is written for a token.
#[derive(Clone, Copy)]
pub(super) enum Text {
    /// Itself.
    Written,
    /// Itself, but for soft hyphens and entities.
    Same,
    /// Itself; its last full stop ends the sentence as well and is the next token.
    SameAndStop,
    /// Itself without the last full stop, which is the next token.
    WithoutStop,
    /// Itself with a plain apostrophe.
    Apostrophe,
    /// Itself in one piece: blanks that do not break, brackets by name.
    Joined,
    /// The plain form of each quotation mark.
    Quotes,
    /// Always this.
    Is(&'static str),
    /// Nothing.
    Skip,
    /// Nothing: the caption ends.
    End,
}

use Keep::{All, But, First, ToApostrophe, ToBlank, ToN, ToStop};
use Text::{Apostrophe, End, Is, Joined, Quotes, Same, SameAndStop, Skip, WithoutStop, Written};

const fn rule(pattern: &'static str, keep: Keep, text: Text) -> Rule {
    Rule {
        pattern,
        keep,
        text,
    }
}

/// In the order that decides between equally long matches.
pub(super) const RULES: &[Rule] = &[
    rule("{blank}+", All, Skip),
    rule("{newline}", All, End),
    // can|not, gon|na, 't|is.
    rule("(?i:cannot|gonna|gotta|lemme|gimme|wanna)", First(3), Same),
    rule("(?i:'tis|'twas)", First(2), Same),
    rule("{tag}", All, Joined),
    // it|'s, is|n't: before words, which would otherwise take the apostrophe or the n.
    rule("{word}{auxiliary}", ToApostrophe, Same),
    rule(r"[A-Za-z\u{AD}]*[A-MO-Za-mo-z]\u{AD}?{not}", ToN, Same),
    rule("{word}", All, Same),
    rule("{auxiliary}[^A-Za-z]", But(1), Apostrophe),
    rule("{not}", All, Apostrophe),
    // Words with an apostrophe inside or at an end.
    rule("{apos}(?i:n){apos}?", All, Same),
    rule("{apos}(?i:em|till?|cause)", All, Same),
    rule("(?:[lLdDjJ]|(?i:dunkin|somethin|ol)){apos}", All, Same),
    rule("[yY]{apos}{letter}", But(1), Same),
    rule("(?i:c'mon|e'er|nor'easter|s'mores|ev'ry|li'l)", All, Same),
    rule("(?i:cap{apos}n|o{apos}o|d{apos}oh)", All, Same),
    rule("[A-HJ-XZn]{mark}{letter}{2,}", All, Same),
    rule(
        "{letter}+[aeiouyAEIOUY]{mark}[aeiouA-Z]{letter}*",
        All,
        Same,
    ),
    rule("{apos}[2-9]0[sS]", All, Same),
    rule("{apos}{digit}{digit}{space}", But(1), Same),
    // Addresses.
    rule("{url}", All, Written),
    rule("{likely_url}", All, Written),
    rule("{email}", All, Written),
    rule("@[A-Za-z_][A-Za-z_0-9]*", All, Written),
    rule("#{soft}+", All, Written),
    // Numbers.
    rule(r"{digit}{1,2}[-/]{digit}{1,2}[-/]{digit}{2,4}", All, Same),
    rule("[-+]?{number}", All, Same),
    rule(
        r"(?:{digit}{1,4}[- \u{A0}]?)?{digit}{1,4}(?:\\?/|\u{2044}){digit}{1,4}",
        All,
        Joined,
    ),
    rule(
        r"[\u{207A}\u{207B}\u{208A}\u{208B}]?(?:[\u{2070}\u{B9}\u{B2}\u{B3}\u{2074}-\u{2079}]+|[\u{2080}-\u{2089}]+)",
        All,
        Same,
    ),
    rule("{phone}", All, Joined),
    rule("\u{BC}", All, Is("1/4")),
    rule("\u{BD}", All, Is("1/2")),
    rule("\u{BE}", All, Is("3/4")),
    rule("\u{2153}", All, Is("1/3")),
    rule("\u{2154}", All, Is("2/3")),
    // Money.
    rule(r"[A-Z]*\$|#", All, Same),
    rule("\u{A2}", All, Is("cents")),
    rule("\u{A3}", All, Is("#")),
    rule(r"[\u{80}\u{A4}\u{20A0}\u{20AC}]", All, Is("$")),
    rule(r"(?i:co)\.{space}(?i:ltd|limited)", ToBlank, Same),
    // Abbreviations: before a blank and what begins a sentence their stop counts twice.
    rule(
        r"{ending}\.{space}(?:{space}|{upper}|{tag})",
        ToBlank,
        SameAndStop,
    ),
    rule(r"{ending}\.(?s:..)", But(2), Same),
    rule(r"{ending}\.", All, Same),
    rule(r"{title}\.", All, Same),
    rule(r"{counting}\.{space}?{digit}", ToStop, Same),
    rule(
        r"{acronym}\.{space}+(?:{opener}|{tag}){space}",
        ToBlank,
        SameAndStop,
    ),
    rule(
        r"[A-Za-z]\.{space}+(?:{opener}|{tag}){space}",
        ToBlank,
        WithoutStop,
    ),
    rule(r"{acronym}\.?|[A-Za-z]\.", All, Same),
    rule(
        r"(?:{word}|{firm}|{hyphenated}|{joined})\.[,;:\u{3001}]",
        But(1),
        Same,
    ),
    // File names: a tie with an abbreviation goes to that.
    rule(
        r"(?:{soft}|{digit})+(?:\.(?:{soft}|{digit})+)*\.{extension}(?:{space}|[.?!,])",
        But(1),
        Written,
    ),
    // Words of several parts: AT&T, and/or, well-known, under_score, C++.
    rule("{firm}", All, Same),
    rule(r"{part}(?:\\?/{part}){1,2}", All, Same),
    rule("{hyphenated}", All, Same),
    rule("{joined}", All, Same),
    rule("(?i:anti|pro)-", All, Same),
    rule(r"[cC]\+\+|[cCfF]#", All, Same),
    // Faces.
    rule(
        r"(?:[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]])[^A-Za-z0-9]",
        But(1),
        Joined,
    ),
    rule(r"[-^x=~<>']_[-^x=~<>']", All, Joined),
    rule(
        r"\([-^x=~<>'][_.]?[-^x=~<>']\)|\([\^x=~<>']-[\^x=~<>'`]\)",
        All,
        Joined,
    ),
    // Quotation marks: opening ones are known by what follows.
    rule(r#"(?:"|&quot;)[A-Za-z0-9$]"#, But(1), Is("``")),
    rule(r#""|&quot;|''"#, All, Is("''")),
    rule(r"'[A-Za-z][^ \t\n\r\u{A0}]", But(2), Is("`")),
    rule("{auxiliary}", All, Apostrophe),
    rule("{apos}", All, Is("'")),
    rule(
        r"[`\u{91}-\u{94}\u{2018}-\u{201F}\u{2039}\u{203A}\u{AB}\u{BB}]{1,2}",
        All,
        Quotes,
    ),
    // Brackets.
    rule(r"\(", All, Is("-lrb-")),
    rule(r"\)", All, Is("-rrb-")),
    rule(r"\[", All, Is("-lsb-")),
    rule(r"\]", All, Is("-rsb-")),
    rule(r"\{", All, Is("-lcb-")),
    rule(r"\}", All, Is("-rcb-")),
    // Dots and dashes.
    rule(r"\.{3,5}|(?:\.[ \u{A0}]){2,4}\.|\u{2026}", All, Is("...")),
    rule(
        r"-{2,4}|[\u{96}\u{97}\u{2013}-\u{2015}]|&(?i:MD|mdash|ndash);",
        All,
        Is("--"),
    ),
    rule(r"-+|_+|\*+|(?:\\\*){1,3}|@+|#+|[?!]+|<<|>>", All, Same),
    // Entities.
    rule("{amp}", All, Is("&")),
    rule("(?i:&lt;)", All, Is("<")),
    rule("(?i:&gt;)", All, Is(">")),
    rule("&(?i:HT|TL|UR|LR|QC|QL|QR|odq|cdq|#[0-9]+);", All, Same),
    rule("{symbol}", All, Same),
];

/// The patterns of [`RULES`] with their definitions put in.
pub(super) fn patterns() -> Vec<String> {
    let mut definitions: Vec<(String, String)> = Vec::new();
    let put_in = |pattern: &str, definitions: &[(String, String)]| {
        definitions
            .iter()
            .fold(pattern.to_owned(), |text, (name, meaning)| {
                text.replace(name, meaning)
            })
    };
    for (name, pattern) in DEFINITIONS {
        let meaning = format!("(?:{})", put_in(pattern, &definitions));
        definitions.push((format!("{{{name}}}"), meaning));
    }
    RULES
        .iter()
        .map(|rule| put_in(rule.pattern, &definitions))
        .collect()
}
