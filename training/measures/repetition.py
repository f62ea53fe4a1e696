"""How much a text repeats itself. Words are compared in small letters."""

from __future__ import annotations

from training.measures.words import words_of


def distinct_ngrams(text: str, n: int) -> float:
    """Distinct n: different sequences of n words / all sequences of n words; 1 where there is none.

    Source: Li et al., "A diversity-promoting objective function for neural conversation models", arXiv 1510.03055.
    """
    tokens = words_of(text.lower())
    grams = list(zip(*(tokens[start:] for start in range(n)), strict=False))
    return len(set(grams)) / len(grams) if grams else 1.0


def longest_repeat(text: str) -> float:
    """The number of words in the longest sequence of words that occurs twice, overlaps allowed; 0 if none does.

    By a suffix automaton (Blumer et al., "The smallest automaton recognizing the subwords of a text", Theoretical
    Computer Science 40, 1985), in linear time: when a word is added, the suffix link of the whole text leads to the
    longest end of it that occurred before.
    """
    moves: list[dict[str, int]] = [{}]
    links, lengths = [-1], [0]
    last = longest = 0
    for word in words_of(text.lower()):
        new, state = len(moves), last
        moves.append({})
        lengths.append(lengths[last] + 1)
        links.append(0)
        while state >= 0 and word not in moves[state]:
            moves[state][word] = new
            state = links[state]
        if state >= 0:
            after = moves[state][word]
            if lengths[after] == lengths[state] + 1:
                links[new] = after
            else:
                twin = len(moves)
                moves.append(dict(moves[after]))
                lengths.append(lengths[state] + 1)
                links.append(links[after])
                while state >= 0 and moves[state].get(word) == after:
                    moves[state][word] = twin
                    state = links[state]
                links[after] = links[new] = twin
        last = new
        longest = max(longest, lengths[links[new]])
    return float(longest)
