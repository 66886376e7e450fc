# Completion of gopipework for bash. To load it now: source <(gopipework completion bash)

_gopipework() {
	local line=${COMP_LINE:0:COMP_POINT} words cur answer
	read -ra words <<<"$line"
	[[ $line == *[[:space:]] ]] && words+=("")
	cur=${words[-1]}
	answer=$(gopipework --complete bash "${words[@]:1}" 2>/dev/null) || return
	if [[ $answer == :files ]]; then
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
		return
	fi
	[[ $answer ]] || return
	mapfile -t COMPREPLY <<<"$answer"
	# bash replaces what follows the last of its own separators, such as the colon of netns:web.
	local head=${cur%"${cur##*[:=@]}"}
	COMPREPLY=("${COMPREPLY[@]#"$head"}")
	[[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *: ]] && compopt -o nospace
}
complete -F _gopipework gopipework
