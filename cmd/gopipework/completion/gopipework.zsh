#compdef gopipework
# Completion of gopipework for zsh. To load it now: source <(gopipework completion zsh)

_gopipework() {
	local -a answer
	answer=("${(@f)$(gopipework --complete zsh "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	if [[ $answer[1] == :files ]]; then
		_files
		return
	fi
	[[ -n $answer[1] ]] || return 1
	_describe -V gopipework answer -S ''
}

if [[ $funcstack[1] == _gopipework ]]; then
	_gopipework "$@"
else
	compdef _gopipework gopipework
fi
