"""The playground keeps no rows yet: a conversation lasts as long as its page is open."""
