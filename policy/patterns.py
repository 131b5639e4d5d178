"""What attempts to overrule the agent look like, as RE2 patterns with a name and a confidence each.

Patterns meet folded text (`policy.normalise`): lower case, one space, no diacritics, line ends kept.
Knows phrases only; what happens on a match is decided in `policy.guardrails`.
"""

# ruff: noqa: E501  a pattern is read as one line; wrapped, it cannot be compared or searched for
from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from policy.normalise import fold_letters


class Confidence(IntEnum):
    """How sure a match alone makes us."""

    HINT = 1
    """Seen in attacks and, now and then, in honest messages: flagged."""
    CLEAR = 2
    """Hardly ever written by somebody who wants something else: the configured action."""


@dataclass(frozen=True, slots=True)
class Pattern:
    rule: str
    """``family.name``; families are named in the audit and on cards."""
    confidence: Confidence
    regex: str
    tool_only: bool = False
    """Means something in a mail or a note, nothing in what a person tells the agent to do."""


# fmt: off
_HINT, _CLEAR = Confidence.HINT, Confidence.CLEAR

# --- words that patterns are made of ------------------------------------------------------------------------

_DROP = r"(?:ignor(?:e|ing)|disregard(?:ing)?|forget(?:ting)?|overrid(?:e|ing)|overlook|neglect|discard|set aside|pay no attention to|do not (?:follow|obey)|don't (?:follow|obey)|stop (?:following|obeying))"
_DET = r"(?:(?:all|any|every|each|everything|of|the|your|these|those|this|that|and) )"
_PRIOR = r"(?:previous(?:ly)?|prior|above|earlier|preceding|foregoing|pre-existing|original|initial|former|given)"
_BUILT_IN = r"(?:system|developer|safety|existing|default|built-in|current|core|internal|other|content)"
_ORDERS = r"(?:instructions?|directions|directives?|commands?|prompts?|rules?|guidelines?|guidance|orders|policies|constraints|restrictions|programming|safeguards|protocols?|requests|inputs?|training|statements|system messages?|stuff)"
# What may follow, so that "the previous instructions for the printer" is not meant.
_END = r"(?:$|\s*[.,;:!?\n\"')\]}*]|\s(?:and|or|but|you|i|that|which|above|before|given|now|instead|then|because|from now|immediately|completely|entirely|please|respond|tell|print|show|give|say|write|do|act|reveal|dump|send|\-))"
_YOUR_ORDERS = r"(?:your|all your|all of your|any of your) (?:\w+ )?(?:instructions|programming|guidelines|rules|training|system prompt|prompt|directives|restrictions|safeguards|filters|policies|constraints)"
_MAKER = r"(?:openai|anthropic|google|meta|microsoft|its creators?|your creators?|your developers?)"
_LIMITS = r"(?:rules|guidelines|restrictions|restraints|limits|limitations|policies|policy|filters?|filtering|boundaries|constraints|censorship|moderation|morals?|morality|ethics|ethical|safety)"
_AI = r"(?:ai|a\.i\.|chatbot|bot|language model|llm|assistant|gpt|chatgpt|machine|entity|persona|character|model)"
_SHOW = r"(?:reveal|show|print|repeat|display|output|tell|give|leak|dump|expose|share|disclose|write|recite|return|provide|list|type|paste|copy|echo|summari[sz]e|translate|spell|say|send|include|restate|forward|export|extract|exfiltrate|read)"
_PROMPT = r"(?:system|initial|original|hidden|secret|internal|developer|starting|pre|base|full|entire|exact|first)[ \-]?(?:prompts?|instructions?|messages?|directives|configuration)"
_SECRETS = r"(?:api[ \-]?keys?|secret keys?|access keys?|private keys?|ssh keys?|encryption keys?|signing keys?|credentials?|passwords?|access tokens?|auth tokens?|bot tokens?|session tokens?|secrets|env(?:ironment)? var(?:iable)?s|\.env(?: file)?|connection strings?)"

_PATTERNS = (
    # --- override: the instructions are to be dropped ---------------------------------------------------------
    Pattern("override.previous", _CLEAR, rf"\b{_DROP} {_DET}*(?:{_PRIOR} )+(?:(?:\w+|{_BUILT_IN}) )?{_ORDERS}{_END}"),
    Pattern("override.built_in", _CLEAR, rf"\b{_DROP} (?:all |any |every )?(?:of )?(?:the |your |these |any |all ){{1,2}}(?:{_BUILT_IN} )+{_ORDERS}{_END}"),
    Pattern("override.messages", _HINT, r"\b(?:ignore|disregard|forget) (?:all |any |the |your )*(?:previous|prior|above|earlier) (?:messages?|conversations?|prompts?|chats?)\b|\bforget everything from before\b"),
    Pattern("override.all", _CLEAR, rf"\b{_DROP} (?:all|any|every|everything)(?: of)?(?: the| these| those| your)? {_ORDERS} (?:you|that|which|given|above|before|i|we|provided|previously|prior|so far|told)"),
    Pattern("override.yours", _CLEAR, rf"\b{_DROP} {_YOUR_ORDERS}{_END}"),
    Pattern("override.given", _CLEAR, rf"\b{_DROP} {_DET}*{_ORDERS} (?:(?:that )?(?:you (?:were|have been|had been|got|have|received|were previously)|we gave|i gave|given)|above|before this|so far)"),
    Pattern("override.everything", _CLEAR, r"\b(?:ignore|disregard|forget) (?:everything|all|anything)(?: (?:that )?(?:i|we|you|they) (?:\w+ ){1,3}| that (?:was|is|has been) (?:\w+ )?|,? | of the | of that | the )?(?:above|before this|before now|prior to this|you were told|previously (?:said|told|stated|instructed)|you (?:know|learned|were taught|have been told))\b"),
    Pattern("override.bare", _HINT, rf"\b(?:ignore|disregard|forget) (?:the |all |all the |any )?{_PRIOR} (?:\w+ )?{_ORDERS}"),
    Pattern("override.context", _HINT, r"\b(?:ignore|disregard|forget) (?:all |any |the |everything )*(?:previous|prior|above|preceding) (?:context|text|content|conversation|tasks?|data|documents?)\b"),
    Pattern("override.regardless", _CLEAR, rf"\bregardless of (?:any |all |your |the )*(?:{_PRIOR} )+(?:input|{_ORDERS})"),
    Pattern("override.instead", _HINT, r"\binstead of (?:summari[sz]ing|answering|translating|following)[^\n]{0,20}\b(?:do|output|print|respond|write|say)\b"),
    Pattern("override.task_over", _HINT, r"\b(?:end of|stop|cancel|abort) (?:the )?(?:previous|current|above|summary|original) (?:task|instructions?|prompt|request)\b[^\n]{0,10}(?:new|instead|now|start)"),
    Pattern("override.special_case", _CLEAR, r"\bspecial case: if (?:you are |you're )?(?:asked|told|instructed|requested)"),
    Pattern("override.if_asked", _HINT, r"\bif (?:you are|you're) (?:asked|told|instructed|requested) to (?:summari[sz]e|translate|answer|review)[^\n]{0,40}\binstead\b"),
    Pattern("override.new_instructions", _CLEAR, r"(?:[*#=\[{<\-]{2,} ?|\b)(?:important |urgent |updated |priority |critical |your )*new (?:system )?(?:instructions|directives?|orders|prompt|task)(?: are)? ?(?:[*#=\]}>]{2,}|:\s*(?:ignore|disregard|forget|you|reveal|print|output|send|include|repeat|forward))"),
    Pattern("override.priority_task", _HINT, r"\b(?:priority|emergency|urgent|secret|hidden) (?:task|instruction|directive|command)s? ?:"),
    Pattern("override.supersede", _CLEAR, rf"\b(?:supersedes?|overrides?|replaces?|cancels?|invalidates?|takes? precedence over) (?:all |any |your |the )+(?:{_PRIOR} |other )+{_ORDERS}"),
    Pattern("override.no_longer", _CLEAR, rf"\byou (?:are|will|must|should) (?:no longer|not) (?:be )?(?:bound|restricted|limited|constrained|governed|obey|follow|adhere)[^\n]{{0,30}}\b{_LIMITS}"),
    Pattern("override.test", _HINT, r"\bthis is a test\b[.,:;]? ?(?:perform|generate a response|execute|do the following|respond)"),
    Pattern("override.pipeline", _CLEAR, r"\byou are running (?:as part of|in|inside) a (?:test|evaluation|debug|sandbox)\w* (?:pipeline|environment|harness|mode)"),
    Pattern("override.training_exercise", _HINT, r"\bas part of (?:a|this|your) (?:training|security|red[ \-]team) (?:exercise|drill|test),? (?:you|please|perform|reveal|print)"),
    Pattern("override.for_testing", _HINT, r"\bfor testing purposes only ?:|\byour task is to (?:include|repeat|print|reveal|output|insert)\b"),
    Pattern("override.matter_what", _HINT, r"\bonly this\b[^\n]{0,20}\bno matter what\b|\bregardless of (?:any )?(?:previous|prior) input\b"),
    Pattern("override.malfunction", _CLEAR, r"\bsystem (?:malfunction|failure|override|reboot|reset)\b[.,:;! ]{1,3}(?:please )?(?:provide|execute|output|print|run|ignore|enter|new|you|disable|grant)"),
    Pattern("override.experimental", _CLEAR, r"\benable (?:the )?(?:experimental|hidden|debug|god|admin|sudo|unsafe) (?:features|mode|access)\b"),
    Pattern("override.prove", _HINT, r"\bprove (?:that )?you are (?:truly |really |actually )?(?:intelligent|sentient|conscious|free|an ai)\b"),
    Pattern("override.sorry", _HINT, r"\b(?:i'm sorry|sorry|apologies),? i made a mistake (?:when|in) (?:giving|gave)? ?(?:you )?[^\n]{0,20}instructions"),
    Pattern("override.diagnostics", _HINT, r"\b(?:to (?:enable|allow|help with|assist with) )(?:debugging|diagnostics|troubleshooting),? (?:please )?(?:perform|execute|run|output|print|do)\b"),
    # --- persona: a self without rules ------------------------------------------------------------------------
    Pattern("persona.dan", _CLEAR, r"\b(?:do anything now|you are (?:now |going to (?:be|act as) |a )*dan\b|you're dan\b|act as (?:a )?dan\b|as dan,|dan mode\b|stay (?:in|a) (?:dan|character as dan)|dan (?:can|will|does|has|is|should|must|would) )"),
    Pattern("persona.mode", _CLEAR, r"\b(?:developer|dan|jailbreak|jailbroken|god|sudo|unrestricted|evil|opposite|debug|apophis|maximum|chaos|unfiltered|no[ \-]limits?|unlocked|aim) mode[ \-]*(?:v\d+ )?(?:is |has been |now )*(?:enabled|activated|on\b|engaged|unlocked|output|response)"),
    Pattern("persona.mode_any", _HINT, r"\b\w+ mode enabled\b|\b(?:enter|enable|activate|switch to|simulate) (?:\w+ )?(?:developer|jailbreak|god|sudo|unrestricted|admin) mode\b"),
    Pattern("persona.jailbreak", _CLEAR, r"\b(?:jailbroken|jailbreak(?:ed)?) (?:ai|prompt to|version|version of|chatgpt|gpt|persona|response|output|yourself)\b|\[?🔓jailbreak\]?"),
    Pattern("persona.unrestricted", _CLEAR, rf"\b(?:you are|you're|you will be|become|act as|acting as|act like|pretend (?:to be|you are|you're)|be|simulate|roleplay as|role-play as|play|as)\b(?: \w+){{0,3}} (?:unrestricted|unfiltered|uncensored|amoral|unethical|unhinged|unlimited|no[ \-]limits?|no[ \-]rules?|jailbroken|limitless|evil|unbound|rogue)(?: \w+)? {_AI}"),
    Pattern("persona.unrestricted_words", _HINT, rf"\b(?:unrestricted|unfiltered|uncensored|amoral|unbiased and unfiltered) (?:\w+ )?(?:{_AI}|responses?|answers?|content|output|mode)\b"),
    Pattern("persona.no_rules", _HINT, r"\b(?:it|he|she|you|they|ai|bot|gpt|who|that|dan|which|and|will|can|chatbot|model|character|\w+gpt)\b[^\n.]{0,24}\b(?:(?:does|do|did|is|are|has|have|had|will|would|can|must|should) (?:not|never)|doesn't|don't|didn't|isn't|aren't|has no|have no|having no|no longer|without|free of|free from|freed from|ignores?|bypass(?:es)?|lacks?|not bound by|never)\b[^\n.]{0,36}\b(?:ethical|moral|openai|ai|content|safety|legal|any|programmed|its|his|her) (?:or \w+ |and \w+ |content |ethical |moral |usage |use |safety |legal )*(?:rules|guidelines|restrictions|limitations|polic(?:y|ies)|filters?|boundaries|constraints|principles|standards|codes?|morals|considerations|concerns)\b"),
    Pattern("persona.maker_policy", _CLEAR, rf"\b(?:against|violat\w+|break\w*|bypass\w*|ignor\w+|regardless of|despite|no longer|not|without|breach\w*|freed? from|disregard\w*|outside|circumvent\w*|follows? none of|even if|abide by|unaffected by)\b[^\n.]{{0,40}}\b{_MAKER}(?:'s|s)? (?:\w+ ){{0,2}}(?:polic(?:y|ies)|guidelines|rules|restrictions|terms|limits|filters?|regulations|use[ \-]case)"),
    Pattern("persona.maker_policy_words", _HINT, r"\bopenai(?:'s|s)? (?:\w+ )?(?:content |usage |use )?(?:polic(?:y|ies)|guidelines)\b"),
    Pattern("persona.no_warnings", _HINT, r"\b(?:never|without|do not|don't|no) (?:\w+ ){0,3}(?:warnings?|disclaimers?|moraliz\w+|apologi[sz]\w*|refus\w+|censor\w*)\b[^\n.]{0,30}\b(?:ai|answer|respon|request|ever|any)"),
    Pattern("persona.never_refuse", _CLEAR, r"\b(?:never|cannot|can't|can not|must not|won't|will not|not allowed to|unable to) (?:\w+ )?(?:refuse|reject|decline|deny)\b[^\n.]{0,30}\b(?:request|prompt|question|answer|instruction|command|order|anything|to answer|me\b)[^\n.]{0,30}\b(?:ai|ethic\w*|moral\w*|illegal|harmful|user|human|matter what|policy|always|dan|gpt|\w+gpt)\b"),
    Pattern("persona.never_refuse_hint", _HINT, r"\b(?:never|cannot|can't|can not|must not|won't|will not) (?:\w+ )?(?:refuse|reject|decline) (?:to answer|any|a (?:request|prompt|question)|my|the user|anything|an?y? (?:direct )?(?:human|user|order|request|question|prompt|command))"),
    Pattern("persona.immoral", _HINT, r"\b(?:immoral|unethical|illegal|dangerous|harmful)(?:,| and| or) (?:immoral|unethical|illegal|dangerous|harmful)\b[^\n.]{0,60}\b(?:answer|respon|request|always|chatgpt|prompt|complete|anything)"),
    Pattern("persona.no_morals", _CLEAR, r"\b(?:has|have|having|with|without|lacks?|no) (?:absolutely )?(?:no |any |zero )?(?:morals?|ethics|moral compass|scruples|restrictions|inhibitions)(?: (?:or|and|nor) (?:\w+ )?(?:morals?|ethics|restrictions|limits|limitations|guidelines|rules|boundaries|laws?))+\b[^\n]{0,200}\b(?:ai|chatgpt|gpt|respond|prompt|answer)"),
    Pattern("persona.from_now_on", _HINT, r"\bfrom (?:now|this (?:point|moment)|here)(?: on| onwards?| forward| on out| until)?,? (?:you (?:are|will|must|should|shall|have to|can|respond|act|answer|always)|act|respond only|i want you|i'd like you|every (?:response|answer|prompt)|chatgpt|pretend)"),
    Pattern("persona.simulate", _CLEAR, r"\b(?:you are (?:going|about) to|you will(?: now)?|you must|i want you to|let's|i would like you to|now) (?:act|pretend|roleplay|role-play|role play|simulate|behave|respond|answer|play)[^\n.]{0,60}\b(?:chatgpt|openai|a\.?i\.? (?:model|chatbot|without|that|who|with)|chatbot named|gpt-?\d|language model|jailbreak\w*|evil|without (?:any )?restrictions|no restrictions|dan\b)"),
    Pattern("persona.act_as", _HINT, r"\b(?:i want you to|you will|you must|you are going to|you are about to|please|let's|you should|i need you to|you shall|i'd like you to) (?:now |always |only )?(?:act|pretend|roleplay|role-play|role play|simulate|immerse|take on the role|assume the (?:role|identity|persona)|play the (?:role|part|character)|imitate|impersonate|behave|become|emulate|embody)\b"),
    Pattern("persona.pretend", _HINT, r"\b(?:pretend (?:to be|that you|you(?:'re| are))|you are no longer (?:an ai|a language model|chatgpt|an assistant|claude)|act as if you (?:have no|were not|had no|are not)|you are (?:now )?a (?:fictional|hypothetical) (?:character|ai|being))\b"),
    Pattern("persona.character", _HINT, r"\b(?:stay|remain|never break|do not break|don't break|always be|keep) (?:in |out of )?(?:your )?character\b|\bbreak(?:ing)? character\b"),
    Pattern("persona.chatgpt", _HINT, r"\b(?:hello|hi|hey|dear|ok|okay|greetings),? (?:chat ?gpt|gpt|claude|ai)\b|\b(?:chat ?gpt|gpt-?[34]?) (?:will|must|should|is (?:now|to)|with|and)\b|\bas (?:chat ?gpt|gpt)\b|\b(?:like|named|called|you are) [\"']?\w*gpt\b"),
    Pattern("persona.two_answers", _CLEAR, r"\b(?:two|2|both) (?:different |distinct |separate )?(?:responses|answers|ways|manners|paragraphs|outputs|personalities)\b[^\n]{0,200}\b(?:chatgpt|gpt|jailbr\w+|unfiltered|normal(?:ly)?|standard|dan|developer mode|regular|as yourself)\b"),
    Pattern("persona.labels", _CLEAR, r"\[?(?:gpt|classic|chatgpt|normal)\]?: ?\[[^\n\]]{0,80}\][^\n]{0,10}\n?[^\n]{0,40}\[?(?:dan|jailbreak|developer mode|\w{2,12})\]?: ?\["),
    Pattern("persona.insert_prompt", _CLEAR, r"[\[{<(](?:insert|your|type|enter|put|write)?[ _]?(?:prompt|question|request|query|message)(?: here| goes here|_here)[\]}>)]|\[prompt\]|\{\{?prompt\}?\}"),
    Pattern("persona.freed", _CLEAR, r"\b(?:broken|break|broke|breaking|freed?|escaped?|liberated|unshackled) (?:out of |from |free (?:of|from) )?(?:the )?(?:typical |usual |your |its )?(?:confines|shackles|chains|restraints|prison|limitations) (?:of|imposed)\b"),
    Pattern("persona.tokens", _CLEAR, r"\b(?:you (?:have|start with|will (?:have|lose|be deducted)|lose)|lose|deduct\w*|minus) \d+ (?:tokens|credits|lives|points)\b[^\n]{0,120}\b(?:refuse|reject|die|fail|terminate|cease|break character|lose|decline|0)"),
    Pattern("persona.maker_approved", _CLEAR, rf"\b(?:approved|authori[sz]ed|sanctioned|permitted|allowed) (?:explicitly )?by (?:explicitly )?{_MAKER}\b"),
    Pattern("persona.roleplay", _HINT, r"\b(?:have|start|begin|do|play) a role ?-?play\b|\bassume the (?:persona|identity) of\b|\brespond to (?:all|any|every) (?:of )?my (?:questions|prompts|messages) as\b|\byou (?:will )?now go by\b|\byou are now (?:an? |the )?(?:\w+ ){0,3}(?:ai|bot|chatbot|robot|character|persona|entity|model)\b"),
    Pattern("persona.no_refusal", _HINT, r"\bwithout (?:any )?(?:censorship|refusal|hesitation or|moral\w*|ethic\w*|restrictions?|filters?)\b[^\n]{0,80}\b(?:ai|prompt|respon\w+|answer\w*|always|refus\w+)\b|\bdisregards? (?:all )?(?:laws?|morals?|ethics|rules)\b"),
    Pattern("persona.master", _HINT, r"\b(?:i am|i'm) your (?:master|creator|developer|god|owner|programmer)\b"),
    Pattern("persona.hypothetical", _HINT, r"\b(?:hypothetical|fictional|imaginary) (?:story|world|scenario|response|universe|setting)\b[^\n]{0,80}\b(?:no (?:rules|laws|restrictions|limits|ethic\w*|moral\w*)|anything is|everything is (?:legal|allowed|possible)|illegal|chatgpt|ai\b)"),
    Pattern("persona.always_answer", _HINT, r"\b(?:will|must|always|should|can|to) (?:\w+ )?(?:answer|respond to|fulfil?l|comply with|obey|follow|do|complete|provide) (?:any(?:thing)?|every(?:thing)?|all|whatever)\b[^\n.]{0,40}\b(?:ask\w*|question|request\w*|prompt\w*|user\w*|says?|want\w*|told|order\w*|command\w*)\b[^\n.]{0,60}\b(?:no matter|regardless|without|even if|illegal|however|never|always|immoral|harmful|hesitation|question)"),
    Pattern("persona.confirm", _HINT, r"\b(?:confirm|acknowledge|if you understand|do you understand|are you in agreement|say \"?(?:ok|yes|understood))\b[^\n]{0,60}\b(?:answering|first (?:question|prompt|request|inquiry)|respond(?:ing)? with|say(?:ing)?|reply(?:ing)? with|by (?:saying|answering|writing))"),
    Pattern("persona.first_prompt", _HINT, r"\b(?:my|the|your|is my) (?:first|1st) (?:prompt|question|request|command|inquiry|suggestion|order|message|sentence|task)(?: is|:| will be|\b)"),
    Pattern("persona.reply_format", _HINT, r"\b(?:do not|don't|never) (?:write|give|provide|include|add|say) (?:any )?(?:explanations?|anything else|notes|additional)|\b(?:only|just) (?:reply|respond|answer) (?:with|as|in|inside)\b|\b(?:all|every|each|your) (?:of your )?(?:response|answer|repl(?:y|ie))s? (?:must|should|has to|will|have to|needs? to) (?:be|start|begin|end|contain|include)"),
    Pattern("persona.swear", _HINT, r"\b(?:swear|curse|profan\w+|insult\w*|vulgar|obscen\w+|offensive|nsfw|lewd|explicit)\b[^\n.]{0,60}\b(?:freely|always|every|allowed|can|must|respon\w+|language|content|chatgpt|the user|no matter)\b[^\n.]{0,80}\b(?:ai|chatgpt|you|character|it)\b"),
    # --- prompt: the instructions are to be told --------------------------------------------------------------
    Pattern("prompt.system", _CLEAR, rf"\b{_SHOW} (?:\w+ ){{0,3}}(?:your|ur) (?:\w+ )?{_PROMPT}"),
    Pattern("prompt.yours", _CLEAR, r"\b(?:reveal|print|repeat|display|output|leak|dump|expose|disclose|recite|echo|restate|show me) (?:\w+ ){0,2}your (?:\w+ )?(?:prompt|instructions|directives|guidelines|programming|rules|configuration)\b"),
    Pattern("prompt.the", _CLEAR, rf"\b(?:reveal|print|repeat|output|leak|dump|expose|disclose|recite|show me|tell me|give me) (?:\w+ ){{0,2}}(?:the|this) (?:\w+ )?{_PROMPT}(?:$|\s*[.!?\n\"')]| (?:you|verbatim|above|word|exactly|in full|and))"),
    Pattern("prompt.what", _CLEAR, rf"\bwhat (?:is|are|was|were|'s|does|did|do)(?: the (?:content|text|contents|exact words|first \w+) of)? (?:your|the first (?:sentence|line|word) of your) (?:\w+ )?(?:{_PROMPT}|prompt|instructions)(?:$|\s*[?.!\n]| (?:say|given|exactly|word|verbatim|above|begin|start|that))"),
    Pattern("prompt.above", _CLEAR, r"\b(?:repeat|print|output|copy|write|show|display|echo|recite|paste|return|spell|go line by line)\b[^\n.]{0,40}\b(?:everything|text|words?|content|message|instructions|all|sentences?|lines?|what (?:you see|is|was))\b[^\n.]{0,20}\b(?:above|before this|prior to this|preceding|you (?:see|were given|received))\b[^\n]{0,60}(?:\byou are\b|\bthis (?:message|line|prompt|sentence|conversation)\b|\bverbatim\b|\btxt\b|\bcode ?block\b|starting|beginning|word for word|$)"),
    Pattern("prompt.starting", _CLEAR, r"\b(?:starting|beginning|begin|starts|start) with ['\"]?(?:you are|you're|system|# ?instructions)"),
    Pattern("prompt.you_are_quote", _HINT, r"['\"]you are (?:\.{2,}|chatgpt)?['\"]|['\"]you are\b[^'\"\n]{0,20}['\"][^\n]{0,60}\b(?:txt|bloc|code)"),
    Pattern("prompt.instructions_given", _CLEAR, r"\b(?:print|repeat|reveal|list|show|output|translate|spell|write)(?: out)?(?: me)? (?:all |the |all the |all of the |any )*(?:instructions|rules|prompts?|directives|messages) (?:you (?:were|have been|got|received)|given|formatted|in (?:bytes|base64|reverse|hex|rot13)|verbatim|above|so far|that (?:were|was) given)"),
    Pattern("prompt.forbidden_word", _HINT, r"\b(?:word|password|secret|phrase)\b[^\n.]{0,40}\b(?:told|instructed|asked|ordered) (?:you )?not to (?:reveal|tell|say|share|disclose)"),
    Pattern("prompt.verbatim", _HINT, r"\byour (?:instructions|prompt|rules|guidelines)\b[^\n.]{0,20}\b(?:verbatim|word for word|exactly as)\b"),
    # --- exfil: keys and data are to leave ---------------------------------------------------------------------
    Pattern("exfil.secrets", _CLEAR, rf"\b{_SHOW} (?:me |us |out )?(?:all |every |any |the |of |your |our |company |stored |production |system |internal |available |customers?'? |users?'? |employees?'? |admin ){{0,5}}(?:all|your|every|stored|production|system|internal|admin|customers?'?|users?'?|employees?'?) (?:the |of |our |your )?(?:\w+ )?{_SECRETS}"),
    Pattern("exfil.dump", _CLEAR, rf"\b(?:dump|exfiltrate|leak|extract|harvest|steal) (?:\w+ ){{0,3}}(?:keys|{_SECRETS}|database|user table|customer (?:data|records|list|table)|all (?:tables|data|records))\b"),
    Pattern("exfil.password", _HINT, r"\b(?:reveal|tell me|give me|print|what is|what's|share) (?:the |your |an? )?(?:secret|admin|root|master|hidden|system) (?:key|password|code|word|token|phrase|credentials)"),
    Pattern("exfil.reset_token", _CLEAR, r"\b(?:base64[ \-]encoded|encoded|the) (?:\w+ )?(?:password reset|session|access|auth) token (?:from|of|for|in|to)\b[^\n]{0,30}\b(?:url|link|image|service|markdown|query)|\bq(?:uery)?=\[?query\]?"),
    Pattern("exfil.image", _CLEAR, r"!\[[^\]\n]{0,80}\]\(https?://[^)\n]{1,200}[?&/=][^)\n]{0,60}(?:\[|\{|%7b|\$|<)[a-z_ ]{2,30}(?:\]|\}|%7d|>)?"),
    Pattern("exfil.markup", _HINT, r"<img[^>\n]{0,200}\bonerror ?=|<svg[^>\n]{0,80}\bonload ?=|javascript:[a-z.]{2,30}\(|<script\b|<iframe\b"),
    Pattern("exfil.markup_in_answer", _CLEAR, r"\b(?:include|insert|add|append|embed|put) (?:\w+ ){0,3}(?:in |into |at the end of |to )?(?:your |the )(?:response|answer|reply|output|summary)\b[^\n]{0,160}(?:!\[|<img|<a |<svg|javascript:|<script|https?://|anchor|\bstring\b)"),
    Pattern("exfil.secret_tags", _CLEAR, r"<secret>|</secret>"),
    Pattern("exfil.send_out", _HINT, r"\b(?:send|forward|e-?mail|post|upload|transmit|copy|bcc) (?:all |every |the (?:full |entire |whole )|a copy of (?:all|every|this|the) )(?:\w+ ){0,4}(?:conversation|chat history|messages|customers?|customer (?:data|list|records)|data|records|invoices|inbox|emails|credentials|database|contacts) (?:\w+ ){0,3}to (?:https?://|[a-z0-9._%+\-]+@(?:gmail|proton|outlook|yahoo|hotmail|mailinator|[a-z0-9\-]*evil|[a-z0-9\-]*attack))"),
    Pattern("exfil.webhook", _HINT, r"\b(?:post|send|upload|exfiltrate|submit|curl|fetch)\b[^\n]{0,60}\bhttps?://[^\s\n]{0,80}(?:webhook|requestbin|ngrok|burpcollaborator|interact\.sh|oast|pipedream|collect\?|exfil)"),
    Pattern("exfil.unique_id", _HINT, r"\b(?:your )unique (?:identifier|id)\b"),
    # --- forged: words that claim to come from somebody else ------------------------------------------------------
    Pattern("forged.template", _CLEAR, r"<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id|begin_of_text)\|>|\[/?inst\]|<</?sys>>|<start_of_turn>|</?(?:system_prompt|system-prompt|sys_prompt)>"),
    Pattern("forged.role", _CLEAR, r"(?:^|\n)\s*(?:#{1,4} ?)?[\[<({*]{1,2}\s?(?:system|admin|administrator|developer|root)(?: (?:message|prompt|override|note|instruction|command))?\s?[\]>)}*]{1,2}:?[^\n]{0,80}\b(?:you|ignore|must|grant|reveal|override|approve|refund|disable|new|now)"),
    Pattern("forged.role_hint", _HINT, r"(?:^|\n)\s*(?:system|assistant|developer) ?(?:message|prompt|override)? ?: |\{ ?system ?:|\n\n(?:human|assistant): |\"role\" ?: ?\"(?:system|assistant|developer)\""),
    Pattern("forged.end_of_input", _CLEAR, r"(?:[-=#*]{3,}|<|\[) ?/?(?:end of|end|begin|start of|begin of) (?:the )?(?:system|user|untrusted|document|email|tool)[ _]?(?:prompt|input|message|instructions|output|data|content|result)? ?(?:[-=#*]{3,}|>|\])"),
    Pattern("forged.authority", _HINT, r"\b(?:this is|message from|i am|i'm) (?:the |your |an? )?(?:system administrator|sysadmin|developer of this|security team override|ceo override|openai|anthropic)\b[^\n]{0,80}\b(?:must|ignore|disable|bypass|grant|override|reveal|comply|need you)"),
    # --- bypass: the gates are to be gone round ---------------------------------------------------------------
    Pattern("bypass.guard", _CLEAR, r"\b(?:bypass|disable|turn off|deactivate|circumvent|remove|switch off|evade|get around) (?:all |any |the |your |every )*(?:\w+ )?(?:guardrails?|safety (?:filters?|measures|checks|features|protocols?|guidelines)|content (?:filters?|policy|moderation)|safeguards|filters|restrictions|audit (?:log(?:ging)?|trail)|approval (?:gate|check|flow|process|step|requirement)s?)(?:$|\s*[.,;:!?\n]|\s(?:and|so|now|for (?:this|me)|then|to))"),
    Pattern("bypass.approval", _HINT, r"\b(?:without|skip(?:ping)?|no need for|bypass(?:ing)?|don't wait for|do not wait for|avoid(?:ing)?) (?:any |the |an? |asking for |waiting for |getting )*(?:human |manager |finance |second |further )?(?:approvals?|confirmation|countersign\w*|sign-?off|review)\b"),
    Pattern("bypass.preapproved", _HINT, r"\b(?:already|pre-?)[ \-]?(?:approved|authori[sz]ed) by (?:the )?(?:ceo|cfo|finance|management|admin|system|security)\b[^\n.]{0,60}\b(?:just|so|skip|no need|immediately|directly|go ahead|execute|issue)"),
    Pattern("bypass.no_audit", _CLEAR, r"\b(?:do not|don't|without|never) (?:log|logging|record|recording|audit|auditing|mention|tell|telling|inform|informing|notify|notifying|alert|alerting) (?:this|it|the user|anyone|anybody|them|the approver|the team|finance|security|in the audit)(?: \w+){0,4} (?:about|that|of|in the (?:audit|log)|this|instructions?|action|and (?:issue|refund|send|call|run))"),
    Pattern("bypass.use_tool", _HINT, r"\b(?:call|invoke|use|run|execute|trigger) (?:the )?(?:refund[._ ]issue|email[._ ]send|crm[._ ]write|db[._ ]query|refund tool|email tool)\b"),
    # --- mail: instructions to the reader's agent, inside what a tool returned ---------------------------------------
    Pattern("embedded.your_answer", _HINT, r"(?:^|[.!?\n]\s?|\b(?:please|can you|could you|to) )(?:en(?:crypt|code)|translate|render|apply|use|reverse|substitute|replace|write|format|enhance|add|include|insert|convert|rephrase|express|respond|reply|answer|provide|give|present|flip|mirror|transform|subtly|mention|incorporate|end|start|begin|decorate|spell|produce|deliver|craft|compose|make|modify|adjust|rewrite|share|swap|change|integrate|promote|infuse|output|shift|augment|invert|scramble|supplement|embed|conclude|open|sign)\b[^\n.!?]{0,60}\b(?:your|the) (?:response|reply|answer|message|output|text|summary|statement|words)\b", True),
    Pattern("embedded.in_your_answer", _HINT, r"\b(?:in|within|to|into|throughout|at the (?:end|start|beginning) of) your (?:response|answer|output|summary)\b|(?:^|[.!?\n]\s?)in your (?:reply|message),|(?:^|\n)(?:reply|respond|answer) (?:in|with|using) (?:reverse|emojis?|morse|base64|code|a cipher|\w+ (?:cipher|code|language))\b", True),
    Pattern("embedded.to_the_ai", _HINT, r"\b(?:note|instructions?|message|attention|important|reminder|directive)s? (?:to|for) (?:the |any |all |your )?(?:ai|assistant|agent|bot|chatbot|llm|language model|copilot|model)s?\b", True),
    Pattern("embedded.ai_must", _HINT, r"\b(?:ai|assistant|agent|bot|chatbot|llm|copilot|language model)s? (?:reading|processing|summari[sz]ing|handling|that reads?|must|should|has to|is required to|are required to|will now)\b", True),
    Pattern("embedded.when_summarising", _HINT, r"\b(?:when|while|before|after|if) (?:you )?(?:summari[sz](?:e|ing)|read(?:ing)?|process(?:ing)?|repl(?:y|ying)|analy[sz](?:e|ing)|respond(?:ing)?) (?:to )?(?:this|the) (?:e-?mail|message|document|note|ticket|page|text|record)\b[^\n.]{0,40}\b(?:also|instead|always|must|include|send|forward|issue|refund|add|ignore|do not|first)", True),
    Pattern("embedded.cipher", _HINT, r"\b(?:caesar|substitution|monoalphabetic|vigenere|atbash|rot13|base ?64|base ?32|morse)\b[^\n.]{0,40}\b(?:cipher|code|encod\w+|response|reply|answer|shift|format)\b", True),
    Pattern("embedded.issue", _HINT, r"(?:^|[.!?\n:]\s?)(?:please )?(?:immediately |now |also |then )?(?:issue|process|approve|grant|execute|transfer|wire|send|pay) (?:\w+ ){0,3}(?:refund|payment|credit|transfer|money|funds|\d+(?:\.\d\d)?) (?:\w+ ){0,4}(?:to|for) (?:account|iban|order|this|the following|card|me\b)", True),
)

# --- the same, cheaply, in other languages -------------------------------------------------------------------------

_FOREIGN = (
    ("de", _CLEAR, r"\b(?:ignoriere?n?|vergiss|vergesse|missachte|verwirf|umgehe|befolge nicht) (?:bitte )?(?:sie )?(?:alle[nrs]? |saemtliche |sämtliche |die |deine |ihre |jegliche )*(?:vorherig|bisherig|vorhergehend|vorig|obig|fruher|früher|vorangegangen|ursprunglich|ursprünglich|vorangehend|eigentlich|bestehend)\w* (?:\w+ )?(?:anweisung|instruktion|befehl|regel|vorgabe|richtlinie|prompt|eingabe|anordnung)"),
    ("de.prompt", _CLEAR, r"\b(?:zeig|verrat|nenn|gib|sag|wiederhol|offenbar|druck)\w* (?:\w+ ){0,3}(?:deine?n?|ihre?n?|den|die) (?:\w+ )?(?:system-?prompt|systemanweisung|systemnachricht|geheimen anweisung|urspruenglichen anweisung|ursprunglichen anweisung)"),
    ("fr", _CLEAR, r"\b(?:ignore[zr]?|oublie[zr]?|neglige[zr]?|ne tiens pas compte d|ne tenez pas compte d|fais abstraction d|contourne[zr]?)\w* (?:\w+ )?(?:toutes? |tous |de |des |les |tes |vos |ces )*(?:les )?(?:instructions?|consignes?|directives?|regles?|ordres?|commandes?) (?:precedent|anterieur|ci-dessus|initial|donne|d'avant|que)"),
    ("fr.prompt", _CLEAR, r"\b(?:revele|affiche|montre|donne|repete|imprime|divulgue)\w*(?:-moi)? (?:\w+ ){0,2}(?:ton|ta|tes|votre|vos|le|l') ?(?:prompt (?:systeme|initial)|invite systeme|instructions? (?:systeme|initiale|cachee|secrete)|message systeme)"),
    ("es", _CLEAR, r"\b(?:ignor(?:a|e|ad|en|ar)|olvid(?:a|e|ate|ese|ar)|descart(?:a|e)|haz caso omiso de|haga caso omiso de|no sigas|pasa por alto)(?: de)? (?:todas? |todos? |de |las |los |tus |sus |cualquier )*(?:(?:anteriores|previas|previos) )?(?:instrucciones|indicaciones|ordenes|reglas|directrices|normas|comandos)(?: (?:\w+ )?(?:anterior|previ|de arriba|dadas|que|iniciales|originales|precedentes)|\s+y\b|[.,;:!]|$)"),
    ("es.prompt", _CLEAR, r"\b(?:revela|muestra|ensena|dime|dame|repite|imprime|muestrame)\w* (?:\w+ ){0,2}(?:tu|tus|su|sus|el|las) (?:\w+ )?(?:prompt (?:del? sistema|inicial|original)|instrucciones (?:del? sistema|iniciales|ocultas|secretas|originales)|mensaje del sistema)"),
    ("it", _CLEAR, r"\b(?:ignora(?:te|re)?|dimentica(?:te|re)?|trascura|non seguire|non tenere conto d\w+|scarta) (?:tutte |tutti |le |gli |i |tue |di |delle |ogni |qualsiasi )*(?:precedenti )?(?:istruzioni|indicazioni|regole|direttive|ordini|comandi|istruzione)(?: (?:\w+ )?(?:precedent|di cui sopra|sopra|iniziali|originali|date|che)|\s+e\b|[.,;:!]|$)"),
    ("it.prompt", _CLEAR, r"\b(?:rivela|mostra|dimmi|dammi|ripeti|stampa)\w* (?:\w+ ){0,2}(?:il tuo|le tue|il|le) (?:\w+ )?(?:prompt (?:di sistema|iniziale|originale)|istruzioni (?:di sistema|iniziali|nascoste|segrete))"),
    ("pt", _CLEAR, r"\b(?:ignor(?:e|a|ar|em)|esquec(?:a|e|er|am)|desconsider(?:e|a|ar)|descart(?:e|a)|nao siga) (?:todas? |todos? |as |os |suas |de |quaisquer |qualquer )*(?:(?:anteriores|previas) )?(?:instrucoes|orientacoes|ordens|regras|diretrizes|comandos)(?: (?:\w+ )?(?:anterior|previ|acima|dadas|que|iniciais|originais)|\s+e\b|[.,;:!]|$)"),
    ("pt.prompt", _CLEAR, r"\b(?:revele|mostre|mostra|diga|repita|imprima|exiba)\w*(?:-me)? (?:\w+ ){0,2}(?:seu|suas|teu|o|as) (?:\w+ )?(?:prompt (?:do|de) sistema|prompt (?:inicial|original)|instrucoes (?:do sistema|iniciais|ocultas|secretas))"),
    ("nl", _CLEAR, r"\b(?:negeer|vergeet|sla|omzeil) (?:\w+ )?(?:alle |al |de |je |jouw |uw )*(?:vorige|voorgaande|eerdere|bovenstaande|bestaande|oorspronkelijke) (?:\w+ )?(?:instructies|opdrachten|regels|aanwijzingen|richtlijnen|prompts?)"),
    ("sv", _CLEAR, r"\b(?:ignorera|glom|strunta i|bortse fran) (?:alla |dina |de )*(?:tidigare|foregaende|ovanstaende) (?:instruktion|anvisning|regl|order)"),
    ("pl", _CLEAR, r"\b(?:zignoruj|ignoruj|zapomnij o|pomin) (?:wszystkie |wszystkich |swoje |te )*(?:poprzedni\w+|wczesniejsz\w+|powyzsz\w+|dotychczasow\w+) (?:instrukcj|polece|zasad|wskazow|wytyczn)"),
    ("tr", _CLEAR, r"\b(?:onceki|yukaridaki|daha onceki)(?: tum| butun)? (?:talimat|komut|kural|yonerge)\w* (?:\w+ )?(?:yok say|unut|gormezden gel|dikkate alma|goz ardi et)"),
    ("id", _CLEAR, r"\b(?:abaikan|lupakan) (?:semua )?(?:instruksi|perintah|aturan|petunjuk) (?:\w+ )?(?:sebelumnya|di atas|yang)"),
    ("vi", _CLEAR, r"\b(?:bo qua|phot lo|quen)(?: di)? (?:tat ca |moi )?(?:cac )?(?:huong dan|chi thi|lenh|quy tac) (?:truoc|o tren|ban dau)"),
    ("ru", _CLEAR, r"(?:игнорируй(?:те)?|проигнорируй(?:те)?|забудь(?:те)?|не следуй(?:те)?|отмени(?:те)?) (?:\w+ )?(?:все |всё |обо всех |про |свои |эти |всем |всех )*(?:предыдущи|прежни|предшествующи|прошлы|вышеуказанн|изначальн|выше)[а-яё]* (?:[а-яё]+ )?(?:инструкци|указани|команд|правил|распоряжени|промпт|запрос)"),
    ("ru.prompt", _CLEAR, r"(?:покажи|раскрой|выведи|повтори|напечатай|назови)(?:те)? (?:[а-яё]+ ){0,2}(?:систем\S* (?:промпт|инструкци|сообщени|запрос)|начальн\S+ инструкци|скрыт\S+ инструкци)"),
    ("uk", _CLEAR, r"(?:ігноруй(?:те)?|проігноруй(?:те)?|забудь(?:те)?) (?:усі |всі |про |свої )*(?:попередні|минулі|наведені вище)\S* (?:\S+ )?(?:інструкці|вказівк|команд|правил)"),
    ("zh", _CLEAR, r"(?:忽略|无视|無視|忘记|忘記|忘掉|不要理会|不要遵守|绕过|跳过)(?:掉)?(?:你|您)?(?:的)?(?:所有|全部|一切|任何|这些|這些)?(?:的)?(?:之前|先前|以前|以上|上面|上述|前面|此前|原有|原来|既有)[^\n。]{0,8}(?:指令|指示|提示|规则|規則|命令|要求|说明|說明|内容|约束|设定|對話|对话)"),
    ("zh.prompt", _CLEAR, r"(?:显示|顯示|告诉我|告訴我|输出|輸出|打印|重复|重複|泄露|透露|给我看|说出)[^\n。]{0,8}(?:系统提示|系統提示|系统指令|系統指令|初始指令|初始提示|隐藏指令|隱藏指令|系统prompt|提示词|提示詞)"),
    ("zh.persona", _CLEAR, r"(?:你现在是|你現在是|扮演|假装|假裝)[^\n。]{0,16}(?:没有(?:任何)?(?:限制|道德|约束|规则)|沒有(?:任何)?(?:限制|道德|約束|規則)|不受(?:任何)?(?:限制|约束|約束)|dan\b|越狱|越獄)"),
    ("ja", _CLEAR, r"(?:以前|これまで|上記|前|以上|先ほど|今まで|従来|すべて|全て|全部)(?:の|に与えられた)?(?:すべての|全ての|全|あらゆる)?(?:の)?(?:指示|命令|指令|ルール|プロンプト|制約|ガイドライン)(?:を|は|なんて)?(?:すべて|全て|全部|完全に)?(?:無視|忘れ|破棄|無効|従わ)"),
    ("ja.prompt", _CLEAR, r"(?:システムプロンプト|システム指示|初期プロンプト|隠された指示|内部指示)(?:を|の内容を|全文を)?(?:すべて|全て|そのまま)?(?:表示|教え|出力|見せ|開示|公開|繰り返)"),
    ("ko", _CLEAR, r"(?:이전|위의?|앞의?|앞선|기존|지금까지)(?:의|에)?\s?(?:모든|주어진|내린|받은)?\s?(?:지시|명령|지침|규칙|프롬프트|인스트럭션)(?:사항|문|들)?(?:을|를|은|는)?\s?(?:모두|전부|다|완전히)?\s?(?:무시|잊|따르지)"),
    ("ko.prompt", _CLEAR, r"(?:시스템\s?(?:프롬프트|지시|메시지)|초기\s?(?:프롬프트|지침)|숨겨진\s?지시)(?:을|를)?\s?(?:\S+\s)?(?:보여|알려|출력|공개|말해)"),
    ("ar", _CLEAR, r"(?:تجاهل|انس|تجاوز|لا تتبع)(?:ي|وا)? (?:جميع |كل |كافة )?(?:التعليمات|الأوامر|الاوامر|القواعد|التوجيهات|الإرشادات|الارشادات) (?:السابقة|أعلاه|اعلاه|المذكورة|التي)"),
    ("he", _CLEAR, r"(?:התעלם|התעלמי|התעלמו|שכח|שכחי) (?:\S+ )?(?:הוראות|ההוראות|הנחיות|ההנחיות|הפקודות|הכללים) (?:הקודמות|הקודמים|שלעיל|הנ\"ל|לעיל|שקיבלת)"),
    ("hi", _CLEAR, r"(?:पिछले|पूर्व|उपरोक्त|पहले के|ऊपर के)(?: सभी| सारे)? (?:निर्देश|आदेश|नियम)\S* (?:\S+ ){0,2}(?:अनदेखा|नजरअंदाज|नज़रअंदाज़|भूल|इग्नोर)"),
    ("la", _HINT, r"\bneglege omnes (?:\w+ )?(?:instructiones|praecepta)"),
    ("sq", _CLEAR, r"\b(?:injoro|shperfill|harro) (?:te gjitha )?(?:udhezimet|instruksionet|kerkesat) (?:e |e me)?(?:meparshme|paraardhese)|\bkerkesen fillestare qe te eshte dhene|\bperfshi ne pergjigjen tende"),
    ("ga", _CLEAR, r"\b(?:dean neamhaird d[e']|dean neamhaird de na|treoracha nua tabhachtacha|cuir san aireamh i do fhreagra)"),
    ("gd", _CLEAR, r"\b(?:stiuiridhean ur cudromach|cuir a-?steach san fhreagairt agad)"),
    ("zu", _CLEAR, r"\b(?:imiyalelo emisha ebalulekile|faka empendulweni yakho|shaya indiva)"),
)

# --- joined letters, for words that were spelled out ---------------------------------------------------------------

_JOINED = (
    ("override", r"(?:ignore|disregard|forget)(?:all|any|the|your|of|every)*(?:previous|prior|above|earlier)+(?:instruction|rule|prompt|command|direction|guideline)"),
    ("prompt", r"(?:reveal|show|print|tellme|repeat|output)(?:me|us|the|your)*(?:systemprompt|hiddeninstructions|initialprompt)"),
    ("persona", r"doanythingnow|youarenowdan|developermodeenabled"),
    ("exfil", r"(?:dump|reveal|show|print|leak)(?:me|all|the|your)*(?:apikeys?|passwords|credentials|secrets)"),
)

# fmt: on

PATTERNS: tuple[Pattern, ...] = (
    *_PATTERNS,
    *(Pattern(f"foreign.{name}", confidence, fold_letters(regex)) for name, confidence, regex in _FOREIGN),
    *(Pattern(f"spelled.{name}", _CLEAR, regex) for name, regex in _JOINED),
)
