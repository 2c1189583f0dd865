//! Longest match over a table of regular expressions, in time linear in the text.
//!
//! At each position all rules are followed at once by one automaton; the longest match wins, and of
//! equally long ones the first rule of the table. A match that fails far behind its end (a tag that
//! is never closed) would be tried again from every position in between and make the whole
//! quadratic; so the states that such a tail went through are kept, and a later match that meets
//! one of them at the same place stops there.

use foldhash::{HashSet, HashSetExt};
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::{Anchored, MatchKind, util::start};

/// Most failures are seen within a few bytes: shorter tails are not worth keeping.
const SHORT_TAIL: usize = 32;

/// Room for the states of the automaton, which are made as they are met.
const CACHE_BYTES: usize = 8 << 20;

/// All rules as one automaton.
pub(super) struct Lexer {
    dfa: DFA,
}

/// What following the rules needs, per thread.
pub(super) struct Scratch {
    cache: Cache,
    /// States after which no rule ends any more, by position.
    dead: HashSet<(LazyStateID, usize)>,
    /// The states' names change whenever the automaton's cache is cleared.
    generation: usize,
}

/// A rule's match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// Number of the rule in the table.
    pub rule: usize,
    /// Where it ends, what it looked ahead at included.
    pub end: usize,
}

impl Lexer {
    /// The automaton of `patterns`; an error is one in the table.
    pub fn new(patterns: &[String]) -> Result<Self, String> {
        let config = DFA::config()
            .match_kind(MatchKind::All)
            .cache_capacity(CACHE_BYTES);
        let dfa = DFA::builder()
            .thompson(thompson::Config::new().shrink(false))
            .configure(config)
            .build_many(patterns)
            .map_err(|error| error.to_string())?;
        Ok(Self { dfa })
    }

    /// Scratch for texts, one after the other.
    pub fn scratch(&self) -> Scratch {
        Scratch {
            cache: self.dfa.create_cache(),
            dead: HashSet::new(),
            generation: 0,
        }
    }

    /// The longest match that starts at `at`, if any rule matches there.
    ///
    /// `scratch` knows the text: call [`Scratch::next_text`] before another one.
    pub fn longest(&self, text: &[u8], at: usize, scratch: &mut Scratch) -> Option<Match> {
        let Scratch {
            cache,
            dead,
            generation,
        } = scratch;
        let anchored = start::Config::new().anchored(Anchored::Yes);
        // Neither of the two calls fails: the automaton has no bytes to stop at, and makes room
        // for states by forgetting others.
        let mut state = self.dfa.start_state(cache, &anchored).ok()?;
        let mut best: Option<Match> = None;
        let mut tail: Vec<(LazyStateID, usize)> = Vec::new();
        for position in at..=text.len() {
            state = match text.get(position) {
                Some(&byte) => self.dfa.next_state(cache, state, byte).ok()?,
                None => self.dfa.next_eoi_state(cache, state).ok()?,
            };
            if *generation != cache.clear_count() {
                *generation = cache.clear_count();
                dead.clear();
                tail.clear();
            }
            // A state tells of a match one byte late.
            if state.is_match() {
                let rules = 0..self.dfa.match_len(cache, state);
                let rule = rules
                    .map(|n| self.dfa.match_pattern(cache, state, n).as_usize())
                    .min();
                best = rule.map(|rule| Match {
                    rule,
                    end: position,
                });
                tail.clear();
            } else if state.is_dead() {
                break;
            }
            if position > best.map_or(at, |best| best.end) + SHORT_TAIL {
                if dead.contains(&(state, position)) {
                    break;
                }
                tail.push((state, position));
            }
        }
        dead.extend(tail);
        best
    }
}

impl Scratch {
    /// Forgets the text seen so far.
    pub fn next_text(&mut self) {
        self.dead.clear();
    }
}
