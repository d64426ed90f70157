//! Names of groups and streams with places to fill in: `/groundcrew/{environment}/{tier}`. What
//! comes out is always a name that CloudWatch takes, whatever is filled in.

use std::fmt;

use super::limits::NAME_BYTES_MAX;

/// Instead of a character that a name may not hold.
const STAND_IN: char = '-';
/// What no group's name may begin with: such groups belong to AWS (API_CreateLogGroup).
const RESERVED: &str = "aws/";

/// What a template may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names<'a> {
    /// The host's environment.
    pub environment: &'a str,
    /// The tier; `files` for files, `journal` for units, `agent` for the agent's own log.
    pub tier: &'a str,
    /// The EC2 instance, or the host's name.
    pub instance: &'a str,
    /// The process, or what stands for it: the file's path, the unit.
    pub process: &'a str,
    /// The unit; `process` where there is none.
    pub unit: &'a str,
    /// The file's path without the slash it begins with; `process` where there is none.
    pub file: &'a str,
}

/// A name with places to fill in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Place(Place),
}

/// What is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Environment,
    Tier,
    Instance,
    Process,
    Unit,
    File,
}

impl Place {
    const ALL: [Self; 6] =
        [Self::Environment, Self::Tier, Self::Instance, Self::Process, Self::Unit, Self::File];

    const fn word(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Tier => "tier",
            Self::Instance => "instance",
            Self::Process => "process",
            Self::Unit => "unit",
            Self::File => "file",
        }
    }

    fn of<'a>(self, names: &Names<'a>) -> &'a str {
        match self {
            Self::Environment => names.environment,
            Self::Tier => names.tier,
            Self::Instance => names.instance,
            Self::Process => names.process,
            Self::Unit => names.unit,
            Self::File => names.file,
        }
    }
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// A brace without its partner.
    #[error("has a brace without its partner")]
    Brace,
    /// A place that nothing fills.
    #[error("asks for {{{name}}}; there are {}", places())]
    Unknown {
        /// What it asks for.
        name: String,
    },
    /// A character that no name may hold.
    #[error("holds {character:?}, which no such name may")]
    Character {
        /// The character.
        character: char,
    },
    /// The names that AWS keeps for itself.
    #[error("begins with {RESERVED}, which no group of yours may")]
    Reserved,
    /// More than a name may have, before anything is filled in.
    #[error("has {bytes} bytes around its places, and a name may have {NAME_BYTES_MAX}")]
    Long {
        /// How many it has.
        bytes: usize,
    },
}

fn places() -> String {
    Place::ALL.map(|place| format!("{{{}}}", place.word())).join(", ")
}

impl Template {
    /// The template of a log group's name.
    pub fn group(text: &str) -> Result<Self, TemplateError> {
        if text.starts_with(RESERVED) {
            return Err(TemplateError::Reserved);
        }
        Self::parse(text, is_of_group)
    }

    /// The template of a log stream's name.
    pub fn stream(text: &str) -> Result<Self, TemplateError> {
        Self::parse(text, is_of_stream)
    }

    /// `/groundcrew/{environment}/{tier}`
    pub(super) fn usual_group() -> Self {
        let literal = |text: &str| Piece::Literal(text.to_owned());
        let [environment, tier] = [Place::Environment, Place::Tier].map(Piece::Place);
        Self(vec![literal("/groundcrew/"), environment, literal("/"), tier])
    }

    /// `{instance}/{process}`
    pub(super) fn usual_stream() -> Self {
        let [instance, process] = [Place::Instance, Place::Process].map(Piece::Place);
        Self(vec![instance, Piece::Literal("/".to_owned()), process])
    }

    fn parse(text: &str, may_hold: fn(char) -> bool) -> Result<Self, TemplateError> {
        if text.is_empty() {
            return Err(TemplateError::Empty);
        }
        let mut pieces = Vec::new();
        let mut literal_bytes = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let (literal, after) = rest.split_at(rest.find(['{', '}']).unwrap_or(rest.len()));
            if let Some(character) = literal.chars().find(|character| !may_hold(*character)) {
                return Err(TemplateError::Character { character });
            }
            if !literal.is_empty() {
                literal_bytes += literal.len();
                pieces.push(Piece::Literal(literal.to_owned()));
            }
            rest = after;
            if rest.is_empty() {
                break;
            }
            let inside = rest.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            let (name, after) = inside.ok_or(TemplateError::Brace)?;
            if name.contains('{') {
                return Err(TemplateError::Brace);
            }
            let place = Place::ALL.into_iter().find(|place| place.word() == name);
            let unknown = || TemplateError::Unknown { name: name.to_owned() };
            pieces.push(Piece::Place(place.ok_or_else(unknown)?));
            rest = after;
        }
        if literal_bytes > NAME_BYTES_MAX {
            return Err(TemplateError::Long { bytes: literal_bytes });
        }
        Ok(Self(pieces))
    }

    /// The name of a group: 1 to [`NAME_BYTES_MAX`] bytes of `[.\-_/#A-Za-z0-9]`
    /// (API_CreateLogGroup). What it may not hold becomes `-`, what is too much is cut off.
    #[must_use]
    pub fn expand_group(&self, names: &Names<'_>) -> String {
        let mut name = self.expand(names, is_of_group);
        if name.starts_with(RESERVED) {
            let slash = RESERVED.len() - 1;
            name.replace_range(slash..=slash, "-");
        }
        name
    }

    /// The name of a stream: 1 to [`NAME_BYTES_MAX`] bytes without `:`, `*` and control characters
    /// (API_CreateLogStream). What it may not hold becomes `-`, what is too much is cut off.
    #[must_use]
    pub fn expand_stream(&self, names: &Names<'_>) -> String {
        self.expand(names, is_of_stream)
    }

    fn expand(&self, names: &Names<'_>, may_hold: fn(char) -> bool) -> String {
        let mut name = String::new();
        let texts = self.0.iter().map(|piece| match piece {
            Piece::Literal(text) => text,
            Piece::Place(place) => place.of(names),
        });
        for character in texts.flat_map(str::chars) {
            let character = if may_hold(character) { character } else { STAND_IN };
            if name.len() + character.len_utf8() > NAME_BYTES_MAX {
                break;
            }
            name.push(character);
        }
        if name.is_empty() {
            name.push(STAND_IN);
        }
        name
    }
}

/// As it is written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Literal(text) => f.write_str(text),
            Piece::Place(place) => write!(f, "{{{}}}", place.word()),
        })
    }
}

fn is_of_group(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_' | '/' | '#')
}

fn is_of_stream(character: char) -> bool {
    !character.is_control() && !matches!(character, ':' | '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: Names<'static> = Names {
        environment: "production",
        tier: "web",
        instance: "i-0a1b2c3d4e5f67890",
        process: "web.17.1",
        unit: "sshd@1:2.service",
        file: "var/log/nginx/access.log",
    };

    #[test]
    fn names_are_filled_in() {
        let group = |text: &str| Template::group(text).unwrap().expand_group(&NAMES);
        let stream = |text: &str| Template::stream(text).unwrap().expand_stream(&NAMES);
        assert_eq!(group("/groundcrew/{environment}/{tier}"), "/groundcrew/production/web");
        assert_eq!(group("{unit}{file}"), "sshd-1-2.servicevar/log/nginx/access.log");
        assert_eq!(group("plain"), "plain");
        assert_eq!(stream("{instance}/{process}"), "i-0a1b2c3d4e5f67890/web.17.1");
        assert_eq!(stream("é {unit}"), "é sshd@1-2.service");
    }

    #[test]
    fn what_is_no_template_says_why() {
        use TemplateError::*;
        let unknown = |name: &str| Unknown { name: name.to_owned() };
        for (text, error) in [
            ("", Empty),
            ("a{", Brace),
            ("a}", Brace),
            ("{tier}}", Brace),
            ("{{tier}}", Brace),
            ("{}", unknown("")),
            ("{host}", unknown("host")),
            ("a b{tier}", Character { character: ' ' }),
            ("{tier}\u{e9}", Character { character: 'é' }),
            ("aws/{tier}", Reserved),
            (&"x".repeat(513), Long { bytes: 513 }),
        ] {
            assert_eq!(Template::group(text), Err(error), "{text}");
        }
        assert_eq!(Template::stream("a:b"), Err(Character { character: ':' }));
        assert_eq!(Template::stream("a\u{7f}"), Err(Character { character: '\u{7f}' }));
        assert_eq!(
            unknown("host").to_string(),
            "asks for {host}; there are {environment}, {tier}, {instance}, {process}, {unit}, \
             {file}"
        );
    }

    #[test]
    fn the_usual_names_are_what_their_texts_say() {
        let group = Template::group("/groundcrew/{environment}/{tier}").unwrap();
        assert_eq!(Template::usual_group(), group);
        assert_eq!(Template::usual_stream(), Template::stream("{instance}/{process}").unwrap());
    }

    #[test]
    fn names_are_cut_between_characters_and_never_empty() {
        let expand = |process: &str| {
            let template = Template::stream("{process}").unwrap();
            template.expand_stream(&Names { process, ..NAMES })
        };
        assert_eq!(expand(""), "-");
        assert_eq!(expand(&"é".repeat(300)), "é".repeat(256));
        assert_eq!(expand(&format!("x{}", "é".repeat(300))).len(), 511);
        let group = Template::group("{environment}/{tier}").unwrap();
        let of_aws = Names { environment: "aws", ..NAMES };
        assert_eq!(group.expand_group(&of_aws), "aws-web");
    }

    proptest! {
        #[test]
        fn whatever_goes_in_a_valid_name_comes_out(
            literals in prop::collection::vec("[a-z/#]{0,8}", 5),
            places in prop::collection::vec(prop::sample::select(Place::ALL.to_vec()), 4),
            values in prop::collection::vec("(aws|[/:*é\\x00-\\x7f]|.){0,200}", 6),
        ) {
            let names = Names {
                environment: &values[0],
                tier: &values[1],
                instance: &values[2],
                process: &values[3],
                unit: &values[4],
                file: &values[5],
            };
            let mut text = literals[0].clone();
            for (place, literal) in places.iter().zip(&literals[1..]) {
                text = format!("{text}{{{}}}{literal}", place.word());
            }
            let sized = |name: &str| (1..=NAME_BYTES_MAX).contains(&name.len());
            if let Ok(template) = Template::group(&text) {
                prop_assert_eq!(template.to_string(), &*text);
                let name = template.expand_group(&names);
                let usual = |c: char| c.is_ascii_alphanumeric() || "._-/#".contains(c);
                prop_assert!(sized(&name) && name.chars().all(usual), "{}", name);
                prop_assert!(!name.starts_with("aws/"), "{}", name);
            }
            if let Ok(template) = Template::stream(&text) {
                let name = template.expand_stream(&names);
                let unusual = |c: char| c == ':' || c == '*' || c < ' ' || c == '\x7f';
                prop_assert!(sized(&name) && !name.chars().any(unusual), "{}", name);
            }
        }

        #[test]
        fn no_text_panics(text in ".*", near in "[a-z{}]{0,20}") {
            for text in [&text, &near] {
                let _ = (Template::group(text), Template::stream(text));
            }
        }
    }
}
