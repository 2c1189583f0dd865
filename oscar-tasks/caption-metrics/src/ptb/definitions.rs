//! What the patterns of the rules are made of. Each may use those above it.

/// Names and their patterns.
pub(super) const DEFINITIONS: &[(&str, &str)] = &[
    ("blank", r"[ \t\u{A0}\u{2000}-\u{200A}\u{3000}]|(?i:&nbsp;)"),
    ("newline", r"\r\n?|[\n\u{B}\u{C}\u{85}\u{2028}\u{2029}]"),
    ("space", "{blank}|{newline}"),
    // Letters of the Basic Multilingual Plane in Unicode 6.
    (
        "letter",
        r"[\p{L}&&\p{age:6.3}&&[\u{0}-\u{FFFF}]--[\u{19B0}-\u{19C0}\u{19C8}\u{19C9}]]",
    ),
    // Words may have these too: marks, accents as entities, and the soft hyphen, which the text of a
    // token is without.
    (
        "soft",
        r"{letter}|\u{AD}|&(?i:[aeiou](?:acute|grave|uml));|[\u{2C2}-\u{2C5}\u{2D2}-\u{2DF}\u{2E5}-\u{36F}\u{375}\u{378}\u{379}\u{384}\u{385}\u{3F6}\u{483}-\u{487}\u{55A}-\u{55F}\u{591}-\u{5BD}\u{5BF}\u{5C1}\u{5C2}\u{5C4}\u{5C5}\u{5C7}\u{615}-\u{61A}\u{64B}-\u{65E}\u{670}\u{6D6}-\u{6E4}\u{6E7}-\u{6ED}\u{6FD}\u{6FE}\u{70F}\u{711}\u{730}-\u{74C}\u{7A6}-\u{7B0}\u{7EB}-\u{7F3}\u{900}-\u{903}\u{93C}\u{93E}-\u{94E}\u{951}-\u{955}\u{962}\u{963}\u{981}-\u{983}\u{9BC}\u{9BE}-\u{9C4}\u{9C7}\u{9C8}\u{9CB}-\u{9CD}\u{9D7}\u{9E2}\u{9E3}\u{A01}-\u{A03}\u{A3C}\u{A3E}-\u{A4F}\u{A81}-\u{A83}\u{ABC}\u{ABE}-\u{ACF}\u{B82}\u{BBE}-\u{BC2}\u{BC6}-\u{BC8}\u{BCA}-\u{BCD}\u{C01}-\u{C03}\u{C3E}-\u{C56}\u{D3E}-\u{D44}\u{D46}-\u{D48}\u{E31}\u{E34}-\u{E3A}\u{E47}-\u{E4E}\u{EB1}\u{EB4}-\u{EBC}\u{EC8}-\u{ECD}]",
    ),
    ("digit", r"[\p{Nd}&&[\u{0}-\u{FFFF}]]"),
    ("alnum", "{letter}|{digit}"),
    ("upper", r"\p{Lu}"),
    ("apos", r"['\u{92}\u{2019}]|(?i:&apos;)"),
    // What else stands for an apostrophe within a word.
    ("mark", r"{apos}|[`\u{91}\u{2018}\u{201B}]"),
    ("amp", "&(?i:amp;)?"),
    ("hyphen", r"[-\u{2010}\u{2011}]"),
    // Full stops within a word belong to it.
    (
        "word",
        "{soft}(?:{soft}|{digit})*(?:[.!?]{soft}(?:{soft}|{digit})*)*",
    ),
    ("auxiliary", "{apos}(?i:[msd]|re|ve|ll)"),
    ("not", "(?i:n){mark}(?i:t)"),
    // Parts of letters and digits: d'accord, well-known, under_score.
    ("piece", "(?:[dDlLoO]{mark}{alnum})?{alnum}+"),
    ("joined", "{piece}(?:[-_]{piece})*"),
    ("firm", "[A-Z]+(?:(?:[+]|{amp})[A-Z]+)+"),
    ("part", "[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"),
    (
        "number",
        r"{digit}+|{digit}*(?:[.:,\u{AD}\u{66B}\u{66C}]{digit}+)+",
    ),
    (
        "phone",
        r"(?:\([0-9]{2,3}\)[ \u{A0}]?|(?:\+\+?)?(?:[0-9]{2,4}[- \u{A0}])?[0-9]{2,4}[- \u{A0}])[0-9]{3,4}[- \u{A0}]?[0-9]{3,5}|(?:(?:\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}",
    ),
    ("tag_name", "[A-Za-z][A-Za-z0-9_:.-]*"),
    (
        "tag",
        r#"<(?:[!?][A-Za-z-][^>\r\n]*|/{tag_name}|{tag_name}(?: +{tag_name}(?: *= *(?:"[^"\r\n]*"|'[^'\r\n]*'))?)* */?) *>"#,
    ),
    (
        "url",
        r#"(?i:https?)://[^ \t\n\x0C\r"<>|(){}]+[^ \t\n\x0C\r"<>|.!?(){},-]"#,
    ),
    (
        "likely_url",
        r#"(?:(?i:www)\.(?:[^ \t\n\x0C\r"<>|.!?(){},]+\.)+[a-zA-Z]{2,4}|(?:[^ \t\n\x0C\r`'"<>|.!?(){},-_$]+\.)+(?i:com|net|org|edu))(?:/[^ \t\n\x0C\r"<>|()]+[^ \t\n\x0C\r"<>|.!?(){},-])?"#,
    ),
    (
        "email",
        r#"(?:&lt;|<)?[a-zA-Z0-9][^ \t\n\x0C\r"<>|(){}\u{A0}]*@(?:[^ \t\n\x0C\r"<>|(){}.\u{A0}]+\.)*[^ \t\n\x0C\r"<>|(){}.\u{A0}]+(?:&gt;|>)?"#,
    ),
    (
        "extension",
        "(?i:bat|bmp|c|class|cgi|cpp|dll|docx?|exe|gif|gz|h|html?|jar|java|jpe?g|mov|mp3|pdf|php|pl|png|ppt|ps|py|sql|tar|txt|wav|x|xml|zip)",
    ),
    // Abbreviations that may end a sentence: of companies, months, days, states and streets.
    (
        "ending",
        "(?i:al|ala|apr|ariz|assn|aug|bhd|bldg|blvd|bros|calif|co|colo|conn|corp|cos|ct|dak|dec|esq|est|etc|ext|feb|fla|fri|ga|inc|ind|intl|jan|jr|jul|jun|kans?|ky|ltd|mar|md|mich|minn|mo|mon|mont|neb|nev|nov|oct|okla|penn|plc|rd|rt|sept?|seq|sq|sr|sys|tel|tenn|thu|thurs|tues?|univ|va|vt|wed|wisc?|wyo)|[Pp]?p(?:te|ty)s?|P(?:te|ty)s?|P(?i:a)|A(?i:rk|z)|D(?i:el)|I(?i:ll)|L(?i:a)|M(?i:ass|iss)|O(?i:re)|T(?i:ex)|W(?i:ash)|(?i:ed|ph)\\.(?i:d)",
    ),
    // Those of people and places, after which one goes on.
    (
        "title",
        "(?i:adj|adm|adv|alex|assoc|asst|atty|ave|brig|capt|cf|cie|cmdr|col|comdr|cpl|dept|det|drs?|elec|ens|ft|gen|govs?|hon|insp|invt|jos|lieut|lt|maj|messrs|mlle|mme|mrs?|ms|msgr|mt|natl|pfc|ph|pres|profs?|pvt|reps?|rev|sens?|sfc|sgt|spc|ste?|supts?|treas|vs|wm)|[Mm](?:fg|tg)",
    ),
    // Those of numbered things, which are abbreviations before a number only.
    ("counting", "(?i:art|ca|figs?|nos?|op|pp|prop)"),
    (
        "acronym",
        r"[A-Za-z](?:\.[A-Za-z])+|(?i:canada|sino|korean|eu|japan|non)-U\.S|U\.S\.-(?:U\.K|U\.S\.S\.R)",
    ),
    (
        "hyphenated",
        r"[A-Za-z0-9][A-Za-z0-9.,\u{AD}]*(?:{hyphen}(?:[A-Za-z0-9\u{AD}]+|{acronym}\.))+",
    ),
    // Words that begin a sentence after an acronym.
    (
        "opener",
        r"A(?i:|bout|ccording|dditionally|fter|nd?|s|t)|B(?i:ut)|E(?i:arlier)|H(?i:e|ere?|owever)|I(?i:[fnt])|L(?i:ast)|M(?i:any|ore|[rs]\.)|N(?i:ow)|O(?i:ne|nce|ther|ur)|S(?i:he|ince|o|ome|uch)|T(?i:hat|he|heir|hen|here|hese|hey|his)|W(?i:e|hat|hen|hile)|Y(?i:et|ou)",
    ),
    // What else is a token; any other character is none.
    (
        "symbol",
        r"[!$-&*-,./:->?\\^`|~\u{A1}\u{A5}-\u{A9}\u{AC}\u{AE}-\u{B4}\u{B6}-\u{B9}\u{BF}\u{D7}\u{F7}\u{37E}\u{387}\u{589}\u{5BE}\u{5C0}\u{5C3}\u{5C6}\u{5F3}\u{5F4}\u{600}-\u{603}\u{606}-\u{60C}\u{614}\u{61B}\u{61E}\u{61F}\u{66A}\u{66D}\u{6D4}\u{700}-\u{70D}\u{7F6}-\u{7F8}\u{964}\u{965}\u{E3F}\u{E4F}\u{1FBD}\u{2016}\u{2017}\u{201A}\u{201E}-\u{2023}\u{2030}-\u{2038}\u{203B}\u{203E}-\u{2042}\u{2044}\u{2070}\u{2074}-\u{207E}\u{2080}-\u{208E}\u{20A4}\u{2100}\u{2101}\u{2103}-\u{2106}\u{2108}\u{2109}\u{2114}\u{2116}-\u{2118}\u{211E}-\u{2123}\u{2125}\u{2127}\u{2129}\u{212E}\u{213A}\u{213B}\u{2140}-\u{2144}\u{214A}-\u{214D}\u{214F}\u{2155}-\u{215E}\u{2190}-\u{2BFF}\u{3001}\u{3002}\u{3012}\u{30FB}\u{FF01}-\u{FF0F}\u{FF1A}-\u{FF20}\u{FF3B}-\u{FF40}\u{FF5B}-\u{FF65}\u{FFE0}\u{FFE1}\u{FFE5}\u{FFE6}]",
    ),
];
