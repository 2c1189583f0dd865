//! What `ask`, `match` and `find` are about: pictures, and after the last of them a text.
//!
//! clap does not allow options between a list of arguments and the argument that follows it, so they are one
//! list to it, which is divided here: `match PICTURE --checkpoint DIR TEXT` is understood as well.

use std::ffi::OsString;
use std::marker::PhantomData;
use std::path::PathBuf;

use clap::error::{Error, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

const ID: &str = "pictures";

/// What the text is called in the help.
pub trait TextName: Send + Sync + 'static {
    /// Its place in the usage: `QUESTION`.
    const NAME: &'static str;
    /// What it is, as part of a sentence: `the question`.
    const MEANING: &'static str;
}

/// Pictures and a text.
#[derive(Clone, Debug)]
pub struct Subject<N> {
    /// Pictures, folders of pictures or zip archives; at least one.
    pub pictures: Vec<PathBuf>,
    /// The text.
    pub text: String,
    name: PhantomData<N>,
}

impl<N: TextName> Args for Subject<N> {
    fn augment_args(command: Command) -> Command {
        let help = format!(
            "Pictures, folders of pictures or zip archives; after the last of them {}: <{}>",
            N::MEANING,
            N::NAME
        );
        let list = Arg::new(ID)
            .value_name("PICTURE")
            .help(help)
            .action(ArgAction::Append)
            .num_args(1..)
            .required(true)
            .value_parser(value_parser!(OsString));
        command.arg(list)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<N: TextName> FromArgMatches for Subject<N> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let list = matches.get_many::<OsString>(ID).into_iter().flatten();
        let mut list: Vec<OsString> = list.cloned().collect();
        let text = list.pop().filter(|_| !list.is_empty());
        let text = text.ok_or_else(|| {
            let message = format!("give a picture and after it {}: <{}>", N::MEANING, N::NAME);
            Error::raw(ErrorKind::MissingRequiredArgument, message)
        })?;
        let text = text.into_string().map_err(|text| {
            let message = format!("{} is not UTF-8: {text:?}", N::MEANING);
            Error::raw(ErrorKind::InvalidUtf8, message)
        })?;
        Ok(Self {
            pictures: list.into_iter().map(PathBuf::from).collect(),
            text,
            name: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rstest::rstest;

    use super::*;

    #[derive(Clone, Debug)]
    struct Question;

    impl TextName for Question {
        const NAME: &'static str = "QUESTION";
        const MEANING: &'static str = "the question";
    }

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        subject: Subject<Question>,
        #[arg(long)]
        top: Option<u16>,
    }

    #[rstest]
    #[case::in_order(&["a.png", "b.png", "who?"])]
    #[case::option_first(&["--top", "3", "a.png", "b.png", "who?"])]
    #[case::option_between(&["a.png", "b.png", "--top", "3", "who?"])]
    #[case::option_amid_pictures(&["a.png", "--top", "3", "b.png", "who?"])]
    #[case::option_last(&["a.png", "b.png", "who?", "--top", "3"])]
    #[case::after_dashes(&["a.png", "--top", "3", "--", "b.png", "who?"])]
    fn options_may_stand_anywhere(#[case] words: &[&str]) {
        let words = [&["program"], words].concat();
        let subject = Program::try_parse_from(words)
            .expect("it is understood")
            .subject;
        assert_eq!(subject.pictures, ["a.png", "b.png"].map(PathBuf::from));
        assert_eq!(subject.text, "who?");
    }

    #[rstest]
    #[case(&["program"], "PICTURE")]
    #[case(&["program", "a.png"], "QUESTION")]
    #[case(&["program", "a.png", "--top", "3"], "QUESTION")]
    fn a_picture_and_a_text_are_needed(#[case] words: &[&str], #[case] missing: &str) {
        let error = Program::try_parse_from(words).expect_err("something is missing");
        assert_eq!(error.kind(), ErrorKind::MissingRequiredArgument);
        assert!(error.to_string().contains(missing), "{error}");
    }
}
