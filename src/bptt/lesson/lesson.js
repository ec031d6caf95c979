// Chooses among the lessons that the page holds, and shows the chosen one. Nothing is computed here.
(() => {
  const all = JSON.parse(document.getElementById('numbers').textContent)
  const root = document.getElementById('lesson')
  const one = (name) => root.querySelector(`[data-${name}]`)
  const chosen = { ...all.chosen, steps: 0, weight: 'Ws', k: all.chosen.t }
  const svg = root.querySelector('.unfolded svg')

  const cells = (row) => `<mtr>${row.map((c) => `<mtd><mn>${c}</mn></mtd>`).join('')}</mtr>`
  const bare = (rows) => `<mtable>${rows.map(cells).join('')}</mtable>`
  const inner = (math) => math.replace(/^<math[^>]*>|<\/math>$/g, '')
  const line = (...parts) => `<math displaystyle="true">${parts.join('')}</math>`
  const sign = (text) => `<mo>${text}</mo>`
  const name = (w) => `<msub><mi>${w[0]}</mi><mi>${w[1]}</mi></msub>`
  const named = (title, rows) => `<figure>${line(title, sign('='), bare(rows))}</figure>`

  const lesson = () => {
    const found = all.lessons[`${chosen.activation} ${chosen.t}`]
    return found && { ...found, now: found.steps[chosen.steps] }
  }

  const drawing = window.bpttPicture.live(svg, (text) => {
    const now = lesson()?.now
    one('said').textContent = text || (now ? `${now.picture.error}. Point at a part of the drawing, `
      + 'or go to it with Tab and the arrow keys, to read its term and number.' : '')
  })

  const showPath = () => {
    const way = all.paths[chosen.t][chosen.weight][chosen.k] || []
    const goal = way[way.length - 1]
    const keys = new Set(way)
    const step = (e) => {
      const own = e.closest('.step')
      return own ? Number(own.dataset.step) + 1 : Number(svg.querySelector('.step').dataset.step)
    }
    svg.querySelectorAll('.flow').forEach((e) => {
      e.classList.toggle('on', keys.has(`${step(e)}:${e.dataset.key}`))
    })
    svg.querySelectorAll('.part').forEach((e) => {
      const key = `${step(e)}:p${e.dataset.part}`
      e.classList.toggle('on', keys.has(key))
      e.classList.toggle('goal', key === goal)
    })
  }

  const showForward = (now) => {
    const steps = Object.keys(now.s).map(Number).sort((a, b) => a - b)
    const head = steps.map((k) => `<th class="${k === chosen.t ? 'at' : ''}">${k}</th>`).join('')
    const rows = [
      ['x', (k) => all.x[k - 1]], ['s', (k) => now.s[k]], ['y', (k) => now.y[k]],
      ['d', (k) => all.d[k - 1]], ['E', (k) => now.E[k]],
    ]
    const body = rows.map(([letter, of]) => `<tr><th><math><msub><mi>${letter}</mi><mi>t</mi></msub>`
      + `</math></th>${steps.map((k) => {
        const found = k || letter === 's' ? of(k) : null
        const at = letter === 'E' && k === chosen.t ? ' class="at"' : ''
        return `<td${at}>${found ? found[0].join('<br>') : ''}</td>`
      }).join('')}</tr>`)
    one('forward').innerHTML = `<thead><tr><th>t</th>${head}</tr></thead>`
      + `<tbody>${body.join('')}</tbody>`
  }

  const showTerms = (now, by, formulas) => {
    const list = one('terms')
    const steps = Object.keys(by.terms).map(Number).sort((a, b) => b - a)
    list.innerHTML = steps.map((k) => `<li><button type="button" data-term="${k}" `
      + `data-value="${by.norms[k]}" aria-pressed="${k === chosen.k}"><span>k = ${k}</span>`
      + `<span class="of">${formulas.chain[chosen.weight][k]}</span><span class="size">norm `
      + `${by.norms[k]}<i style="width:${by.shares[k] * 8}rem"></i></span></button></li>`).join('')
    list.querySelectorAll('button').forEach((button) => {
      button.addEventListener('click', () => {
        chosen.k = Number(button.dataset.term)
        show()
        list.querySelector(`[data-term="${chosen.k}"]`).focus()
      })
    })
  }

  // The chosen term's factors, from the error back to the weight's use.
  const showFactors = (now, by, formulas) => {
    const { k, t, weight } = chosen
    one('term-title').innerHTML = `The term of step ${k}`
    const lines = []
    const words = (text) => lines.push(`<p>${text}</p>`)
    words('How the error grows with what came out:')
    lines.push(line(inner(formulas.read), sign('='), inner(formulas.slope), sign('='), bare(now.read)))
    if (weight !== 'Wy') {
      const told = Object.keys(now.J).map(Number).filter((j) => j > k).sort((a, b) => b - a)
      const few = told.length > 4 ? [...told.slice(0, 3), 0, told[told.length - 1]] : told
      const back = few.map((j) => sign('·') + (j ? bare(now.J[j]) : sign('⋯')))
      const chain = few.map((j) => sign('·') + (j ? inner(formulas.jacobian[j]) : sign('⋯')))
      words(k < t ? `Back through Wy, then through each step from ${t} to ${k + 1}, arrives at the state of step ${k}:`
        : `Back through Wy it arrives at the state of step ${k}:`)
      lines.push(line(inner(formulas.state[k]), sign('='), inner(formulas.read), sign('·'),
        inner(formulas.out), ...chain))
      lines.push(line(sign('='), bare(now.read), sign('·'), bare(transposed(now.W.Wy)), ...back,
        sign('='), bare(now.adjoint[k])))
      words(`Through φ: ∘ multiplies unit by unit with the slope of φ at a = x Wx + s Ws, what φ was applied to at step ${k}:`)
      lines.push(line(inner(formulas.delta[k]), sign('='), inner(formulas.state[k]), sign('∘'),
        `<mrow><msup><mi>φ</mi><mo>′</mo></msup><mo>(</mo><msub><mi>a</mi><mn>${k}</mn></msub><mo>)</mo></mrow>`,
        sign('='), bare(now.adjoint[k]), sign('∘'), bare(now.slope[k]), sign('='), bare(now.delta[k])))
    }
    words('Times what the weight was multiplied with there, that is the term:')
    const used = weight === 'Wx' ? all.x[k - 1] : now.s[weight === 'Ws' ? k - 1 : k]
    const error = weight === 'Wy' ? now.read : now.delta[k]
    lines.push(line(inner(formulas.own[weight][k]), sign('='), bare(transposed(used)), bare(error),
      sign('='), bare(by.terms[k])))
    if (k < t) {
      lines.push(`<p>The terms from k = ${t} down to k = ${k} sum to ${line(bare(by.so_far[k]))}</p>`)
    }
    one('factors').innerHTML = lines.join('')
  }
  const transposed = (rows) => rows[0].map((_, column) => rows.map((row) => row[column]))

  const showWays = (by, formulas) => {
    const ways = [['chain', 'the chain rule: the sum of the terms'], ['unroll', 'bptt.unroll and backward()'],
      ['differences', 'finite differences']]
    one('ways').innerHTML = ways.map(([way, told], place) => `<figure data-way="${way}">`
      + `${line(place ? '' : inner(formulas.gradient[chosen.weight]) + sign('='), bare(by[way]))}`
      + `<figcaption>${told}</figcaption></figure>`).join('')
    one('verdict').textContent = by.verdict
    one('verdict').className = by.agrees ? 'good' : 'bad'
  }

  const showDescent = (found, now, formulas) => {
    const weights = ['Wx', 'Ws', 'Wy']
    one('update').innerHTML = formulas.update
    one('stepped').innerHTML = weights.map((w) => named(name(w), now.stepped[w])).join('')
    one('outcome').textContent = now.outcome
    const points = found.curve.map((p) => p.join(',')).join(' ')
    root.querySelector('.curve').setAttribute('points', points)
    one('marks').innerHTML = found.curve
      .map(([x, y]) => `<circle class="mark" cx="${x}" cy="${y}" r="3.4"/>`).join('')
    const [x, y] = found.curve[chosen.steps]
    const here = root.querySelector('.here')
    here.setAttribute('cx', x)
    here.setAttribute('cy', y)
    one('top').textContent = found.top
  }

  const show = () => {
    const found = lesson()
    Object.assign(root.dataset, { time: chosen.t, activation: chosen.activation,
      descent: chosen.steps, weight: chosen.weight, term: chosen.k })
    const { now } = found
    const formulas = all.formulas[chosen.t]
    const by = now.by[chosen.weight]
    one('math').innerHTML = formulas.error
    one('error').textContent = now.before
    one('steps').textContent = chosen.steps
    const last = chosen.steps === found.steps.length - 1
    one('step-back').disabled = chosen.steps === 0
    one('step-on').disabled = last
    one('ended').textContent = last ? '(as far as this page goes)' : ''
    root.querySelectorAll('[data-phi]').forEach((e) => { e.textContent = chosen.activation })
    svg.querySelectorAll('.function text').forEach((e) => { e.textContent = chosen.activation })
    one('weights').innerHTML = ['Wx', 'Ws', 'Wy'].map((w) => named(name(w), now.W[w])).join('')
      + named('<msub><mi>s</mi><mn>0</mn></msub>', all.s0)
    drawing.show({ ...now.picture, said: formulas.said })
    showForward(now)
    one('total').innerHTML = formulas.total[chosen.weight]
    showTerms(now, by, formulas)
    showFactors(now, by, formulas)
    showWays(by, formulas)
    showDescent(found, now, formulas)
    showPath()
    const steps = termSteps()
    one('term-back').disabled = chosen.k === steps[0]
    one('term-on').disabled = chosen.k === steps[steps.length - 1]
  }
  const termSteps = () => Object.keys(lesson().now.by[chosen.weight].terms).map(Number).sort((a, b) => b - a)

  // Numbers that leave what float64 can hold are not in the page; what has none cannot be chosen.
  const allow = (what, key) => root.querySelectorAll(`[name=${what}]`).forEach((input) => {
    input.disabled = !all.lessons[key(input.value)]
  })

  const settle = () => {
    allow('time', (t) => `${chosen.activation} ${t}`)
    allow('activation', (phi) => `${phi} ${chosen.t}`)
    const found = lesson()
    chosen.steps = Math.min(chosen.steps, found.steps.length - 1)
    if (!termSteps().includes(chosen.k)) [chosen.k] = termSteps()
    show()
  }

  const choose = (what, read) => root.querySelectorAll(`[name=${what}]`).forEach((input) => {
    input.addEventListener('change', () => { read(input.value); settle() })
  })
  choose('time', (value) => { chosen.t = Number(value); chosen.k = chosen.t })
  choose('activation', (value) => { chosen.activation = value })
  choose('weight', (value) => { chosen.weight = value; chosen.k = chosen.t })
  const by = (button, change) => one(button).addEventListener('click', () => { change(); settle() })
  by('step-on', () => { chosen.steps += 1 })
  by('step-back', () => { chosen.steps -= 1 })
  by('term-on', () => { chosen.k = termSteps()[termSteps().indexOf(chosen.k) + 1] })
  by('term-back', () => { chosen.k = termSteps()[termSteps().indexOf(chosen.k) - 1] })
  settle()
})()
